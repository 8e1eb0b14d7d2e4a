/* The words of lectures and papers for parts of a model, by which search finds them. */

/** @type {[RegExp, string][]} */
const WORDS = [
  [/(^|\.)(with_)?positions$/, "positional encoding"],
  [/(^|\.)embedding$/, "embedding table tokens words"],
  [/(^|\.)query\.w$/, "w_q w^q query matrix"],
  [/(^|\.)key\.w$/, "w_k w^k key matrix"],
  [/(^|\.)value\.w$/, "w_v w^v value matrix"],
  [/attention\.output\.w$/, "w_o w^o output matrix"],
  [/(^|\.)matches$/, "qk^t dot product similarity"],
  [/(^|\.)scores$/, "qk^t/√d_k alignment similarity"],
  [/(^|\.)masked_scores$/, "mask causal look-ahead"],
  [/(^|\.)weights$/, "alpha α attention softmax(qk^t/√d_k)"],
  [/(^|\.)values$/, "weighted sum head softmax(qk^t/√d_k)v"],
  [/(^|\.)concat$/, "concatenation of heads multi-head"],
  [/cross_attention/, "encoder-decoder attention"],
  [/_residual$/, "add & norm residual skip connection"],
  [/_norm(\.|$)/, "add & norm layernorm layer normalization normalisation"],
  [/feed_forward/, "ffn mlp position-wise"],
  [/(^|\.)logits$/, "linear output layer unembedding"],
  [/(^|\.)a$/, "activation input net"],
  [/(^|\.)z$/, "activation output"],
];

/* The words that stand for a name, in one text. */
export function lectureWords(name) {
  return WORDS.filter(([pattern]) => pattern.test(name))
    .map(([, words]) => words)
    .join(" ");
}
