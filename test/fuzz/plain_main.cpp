// Runs a fuzz target without libFuzzer: fuzz_x <count> <seed> <folder>...
//
// Each file of the folders first, then `count` random mutations of them. The same seed makes the same inputs. When
// the target aborts, its input is written to the file fuzz-crash-input in the working directory.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::string current;

// Not safe in a signal handler in general; the process is lost anyway, and the input is what one wants to have.
void keep_input(int) {
    if (std::FILE* file = std::fopen("fuzz-crash-input", "wb")) {
        std::fwrite(current.data(), 1, current.size(), file);
        std::fclose(file);
        std::fputs("the input is in the file fuzz-crash-input\n", stderr);
    }
    std::_Exit(1);
}

void run(std::string input) {
    current = std::move(input);
    // A copy of its exact size, so that a sanitizer sees a byte too much.
    const std::vector<std::uint8_t> bytes(current.begin(), current.end());
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

std::string mutate(const std::vector<std::string>& seeds, std::mt19937_64& random) {
    const auto below = [&](std::size_t limit) { return limit == 0 ? 0 : static_cast<std::size_t>(random() % limit); };
    std::string text = seeds[below(seeds.size())];
    static const std::string kTelling = "{}[]\",:-&*!|>'%@#?~ \n\t\\/.0123456789abcdefxNnullTrue\x80\xff";
    for (std::size_t step = 1 + below(6); step > 0; --step) {
        const std::size_t at = below(text.size() + 1);
        const std::size_t length = 1 + below(16);
        switch (below(6)) {
            case 0: text.insert(at, 1, kTelling[below(kTelling.size())]); break;
            case 1:
                if (at < text.size()) text[at] = kTelling[below(kTelling.size())];
                break;
            case 2:
                if (at < text.size()) text.erase(at, length);
                break;
            case 3: text.insert(at, text.substr(below(text.size() + 1), length)); break;
            case 4:
                if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
                break;
            case 5: {
                const std::string& other = seeds[below(seeds.size())];
                text.insert(at, other.substr(below(other.size() + 1), 1 + below(120)));
                break;
            }
            default: break;
        }
    }
    return text;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) {
        std::fprintf(stderr, "usage: %s <mutations> <seed> <corpus folder>...\n", argv[0]);
        return 2;
    }
    std::signal(SIGABRT, keep_input);
    std::vector<std::string> seeds;
    for (int i = 3; i < argc; ++i) {
        for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
            std::ifstream file(entry.path(), std::ios::binary);
            seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
        }
    }
    if (seeds.empty()) {
        std::fputs("the corpus is empty\n", stderr);
        return 2;
    }
    for (const auto& seed : seeds) run(seed);
    const unsigned long count = std::strtoul(argv[1], nullptr, 10);
    std::mt19937_64 random(std::strtoull(argv[2], nullptr, 10));
    for (unsigned long i = 0; i < count; ++i) run(mutate(seeds, random));
    std::printf("%zu files and %lu mutations of them\n", seeds.size(), count);
    return 0;
}
