#include "cli/suggest.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

namespace ghostip::cli {
namespace {

// Levenshtein distance.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

std::vector<std::string> flags_of(const CLI::App& command) {
    std::vector<std::string> flags;
    for (const auto* option : command.get_options())
        for (const auto& name : option->get_lnames()) flags.push_back("--" + name);
    return flags;
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
    std::string best;
    std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
    for (const auto& candidate : candidates) {
        const std::size_t own = distance(word, candidate);
        if (own < best_distance) {
            best_distance = own;
            best = candidate;
        }
    }
    return best;
}

std::string unknown_word(const CLI::App& app, const CLI::App* command, const std::vector<std::string>& words) {
    const auto sentence = [](std::string_view kind, std::string_view word, const std::string& near) {
        return near.empty() ? fmt::format("unknown {} {}", kind, word)
                            : fmt::format("unknown {} {}; did you mean {}?", kind, word, near);
    };
    if (command == nullptr) {
        std::vector<std::string> commands;
        for (const auto* known : app.get_subcommands({})) commands.push_back(known->get_name());
        if (words.empty() || words.front().starts_with("-")) return {};
        return sentence("command", words.front(), nearest(words.front(), commands));
    }
    const auto flags = flags_of(*command);
    for (const auto& word : words) {
        const std::string name = word.substr(0, word.find('='));
        if (!name.starts_with("--") || name == "--" || std::find(flags.begin(), flags.end(), name) != flags.end())
            continue;
        return sentence("flag", name, nearest(name, flags));
    }
    return {};
}

}  // namespace ghostip::cli
