// A program that runs launches from a file and writes back what they left in memory. Each stretch
// of memory is allocated by itself, to the byte, so that a sanitiser sees whoever leaves it.
//
// The file is words of 64 bits: how many launches; for each the length of its kernel's name, the
// name (filled up to words), grid, block, seed; how many stretches, and for each its bytes and
// content (filled up); how many parameters, and for each the stretch it points into (-1: none) and
// a number, which is the parameter or counts bytes into the stretch. Written back: all contents, in
// order.
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

static long long cuda_cpu_word(std::istream& from) {
    long long word = 0;
    from.read(reinterpret_cast<char*>(&word), 8);
    return word;
}

static std::string cuda_cpu_bytes(std::istream& from, long long size) {
    std::string bytes((size + 7) / 8 * 8, '\0');
    from.read(&bytes[0], bytes.size());
    bytes.resize(size);
    return bytes;
}

int main(int, char** arguments) {
    std::ifstream from(arguments[1], std::ios::binary);
    std::ofstream to(arguments[2], std::ios::binary);
    for (long long launches = cuda_cpu_word(from); launches > 0; --launches) {
        const std::string name = cuda_cpu_bytes(from, cuda_cpu_word(from));
        const long long grid = cuda_cpu_word(from), block = cuda_cpu_word(from);
        const long long seed = cuda_cpu_word(from);
        std::vector<std::pair<char*, long long>> stretches;
        for (long long count = cuda_cpu_word(from); count > 0; --count) {
            const long long size = cuda_cpu_word(from);
            const std::string content = cuda_cpu_bytes(from, size);
            char* memory = static_cast<char*>(std::malloc(size ? size : 1));
            std::memcpy(memory, content.data(), size);
            stretches.emplace_back(memory, size);
        }
        std::vector<long long> words;
        for (long long count = cuda_cpu_word(from); count > 0; --count) {
            const long long stretch = cuda_cpu_word(from), number = cuda_cpu_word(from);
            words.push_back(stretch < 0 ? number : (long long)stretches[stretch].first + number);
        }
        words.push_back(0);
        std::cerr << name << "\n";
        const char* error = cuda_cpu_launch(name.c_str(), grid, block, words.data(), seed);
        if (*error) {
            std::cerr << error << "\n";
            return 2;
        }
        for (auto& each : stretches) {
            to.write(each.first, each.second);
            std::free(each.first);
        }
    }
    return 0;
}
