// "Did you mean": the known word that is nearest to one that is not known.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): the library's name
class App;
}

namespace ghostip::cli {

// The candidate with the smallest edit distance, if that is small for a typing error; else empty.
[[nodiscard]] std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// What is wrong with the first word of the command line that is neither a command nor a flag, with the near one if
// there is one; empty if all words are known. `command` may be null.
[[nodiscard]] std::string unknown_word(const CLI::App& app, const CLI::App* command,
                                       const std::vector<std::string>& words);

}  // namespace ghostip::cli
