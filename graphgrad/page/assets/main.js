/* The page: its core, then its panels in the order in which they are shown, then the beginning. */

import { start } from "./core/start.js";
import "./panels/figures_node.js";
import "./panels/figures_page.js";
import "./panels/attention_page.js";
import "./panels/effects_page.js";
import "./panels/training_page.js";
import "./panels/history_node.js";
import "./panels/history_page.js";
import "./panels/passes_page.js";
import "./panels/program_node.js";
import "./panels/program_page.js";

start();
