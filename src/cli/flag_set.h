// Flags in the manner of Go's pflag, which kube-proxy's command line relies on: `_` for `-` in names, `--bool` and
// `--bool=false` but never `--bool false`, lists given in one or in several flags, `-v2`, and its words for errors.
// CLI11, which the other commands use, cannot do the first three.
//
// A flag is a row: what it is called, what it is bound to, and what it is for. --help, the log's FLAG lines and /flagz
// are the same rows. What flags are bound to must outlive the set.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/config/configuration.h"
#include "base/result.h"

namespace ghostip::cli {

// What a flag is bound to: reads it, prints it.
struct FlagValue {
    std::string type;   // in --help; empty for a bool
    std::string alone;  // the value of a flag that stands alone; empty: it needs one
    std::function<Result<void>(const std::string&)> set;
    std::function<std::string()> text;
};

struct Flag {
    std::string name;
    FlagValue value;
    // The field of KubeProxyConfiguration that it is for (`conntrack.min`); empty: none.
    std::string field;
    std::string help;
    char letter = 0;
    std::string deprecated = {};  // what to use instead; empty: it is not
    // Known by the set.
    std::string usual = {};  // the value without the flag
    bool changed = false;
};

class FlagSet {
  public:
    void add(Flag flag);
    // Rows under a heading of --help.
    void begin_group(std::string heading) { groups_.emplace_back(std::move(heading), flags_.size()); }

    struct Parsed {
        bool help = false;  // --help or -h; nothing behind it was read
        std::vector<std::string> others;
        std::vector<std::string> notes;  // for standard error: deprecated flags
    };
    [[nodiscard]] Result<Parsed> parse(const std::vector<std::string>& words);

    [[nodiscard]] bool changed(std::string_view name) const;
    [[nodiscard]] const std::vector<Flag>& flags() const { return flags_; }
    // Name and value of every flag, by name.
    [[nodiscard]] std::vector<std::pair<std::string, std::string>> values() const;
    [[nodiscard]] std::vector<std::string> names() const;  // `--config`, …
    [[nodiscard]] std::string help() const;

  private:
    [[nodiscard]] Flag* find(std::string_view name);
    [[nodiscard]] Result<void> set(Flag& flag, const std::string& text, Parsed& parsed);
    // A word that begins with a flag; `at` is its place, moved on if the value is the word behind.
    [[nodiscard]] Result<void> parse_long(const std::vector<std::string>& words, std::size_t& at, Parsed& parsed);
    [[nodiscard]] Result<void> parse_letters(const std::vector<std::string>& words, std::size_t& at, Parsed& parsed);

    std::vector<Flag> flags_;
    std::vector<std::pair<std::string, std::size_t>> groups_;  // heading, its first flag
};

// What flags are bound to, by type.
[[nodiscard]] FlagValue string_value(std::string& value, std::string type = "string");
[[nodiscard]] FlagValue bool_value(bool& value);
[[nodiscard]] FlagValue bool_value(std::optional<bool>& value);
[[nodiscard]] FlagValue int_value(std::int32_t& value);
[[nodiscard]] FlagValue int_value(std::optional<std::int32_t>& value);
[[nodiscard]] FlagValue uint_value(std::uint32_t& value, std::uint32_t least, std::uint32_t most);
[[nodiscard]] FlagValue float_value(float& value);
[[nodiscard]] FlagValue duration_value(agent::config::Duration& value);
[[nodiscard]] FlagValue duration_value(std::optional<agent::config::Duration>& value);
[[nodiscard]] FlagValue list_value(std::vector<std::string>& value);
[[nodiscard]] FlagValue gates_value(agent::config::GateSettings& value);
[[nodiscard]] FlagValue vmodule_value(std::vector<agent::config::VmoduleItem>& value);
[[nodiscard]] FlagValue quantity_value(agent::config::Quantity& value);
// Empty leaves the value as it is; `emptied`, if not null, then says so.
[[nodiscard]] FlagValue ip_value(std::string& value);
[[nodiscard]] FlagValue ip_port_value(std::string& value, bool* emptied);

}  // namespace ghostip::cli
