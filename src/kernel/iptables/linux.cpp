#include "kernel/iptables/linux.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/subprocess.h"
#include "kernel/iptables/diagnostics.h"
#include "kernel/iptables/line_splitter.h"
#include "kernel/iptables/presence.h"
#include "kernel/iptables/table.h"

namespace ghostip::kernel::iptables {
namespace {

constexpr int kAbsent = 1;           // exit code of `iptables -S CHAIN`
constexpr int kEndedBySignal = 128;  // Finished::status counts on from here

// PATH for the helpers that a program may load (modprobe); messages in the words that diagnostics.cpp knows.
std::vector<std::string> environment() { return {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}; }

std::vector<std::string> folders(const LinuxOptions& options) {
    if (!options.folders.empty()) return options.folders;
    std::vector<std::string> result;
    const char* const path = std::getenv("PATH");
    std::string_view rest = path == nullptr ? "" : path;
    while (!rest.empty()) {
        const auto end = rest.find(':');
        // A relative folder would be another one tomorrow.
        if (rest.starts_with('/')) result.emplace_back(rest.substr(0, end));
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    result.insert(result.end(), {"/usr/local/sbin", "/usr/sbin", "/sbin"});
    return result;
}

bool is_program(const std::string& path) { return ::access(path.c_str(), X_OK) == 0; }

Program prepared(std::vector<std::string> argv, const LinuxOptions& options) {
    Program result;
    result.argv = std::move(argv);
    result.environment = environment();
    result.time_limit = options.time_limit;
    return result;
}

// What a program says to --version; absent: it is not there, or does not know the question.
std::optional<std::string> version_text(const std::string& path, const LinuxOptions& options) {
    const auto done = run(prepared({path, "--version"}, options));
    if (!done || done->status != 0) return std::nullopt;
    return done->out;
}

struct Found {
    std::string path;
    Version version;
};

// A program is of use only together with its -restore and its -save.
std::optional<Found> find(Variant variant, net::Family family, const LinuxOptions& options) {
    const std::string plain = family == net::Family::kIpv4 ? "iptables" : "ip6tables";
    for (const auto& name : {fmt::format("{}-{}", plain, variant_name(variant)), plain}) {
        for (const auto& folder : folders(options)) {
            const std::string path = fmt::format("{}/{}", folder, name);
            if (!is_program(path) || !is_program(path + "-restore") || !is_program(path + "-save")) continue;
            const auto text = version_text(path, options);
            const auto version = text ? parse_version(*text) : std::nullopt;
            if (version && parse_variant(*text) == variant) return Found{path, *version};
        }
    }
    return std::nullopt;
}

// One that was killed may have done anything before.
Result<Finished> run_to_its_end(const Program& what) {
    auto done = run(what);
    if (done && done->status > kEndedBySignal)
        return fail("{} was ended by signal {}", what.argv[0], done->status - kEndedBySignal);
    return done;
}

// `:INPUT ACCEPT [12:3456]` without its counters.
std::string without_counters(std::string_view line) { return std::string(line.substr(0, line.rfind(' '))) + " [0:0]"; }

}  // namespace

Result<std::unique_ptr<LinuxIptables>> LinuxIptables::open(Variant variant, net::Family family, LinuxOptions options) {
    auto found = find(variant, family, options);
    const std::string_view name = family == net::Family::kIpv4 ? "iptables" : "ip6tables";
    if (!found) return errno_error(ENOENT, fmt::format("find the programs of {} ({})", name, variant_name(variant)));
    auto wait = restore_wait(found->version, version_text(found->path + "-restore", options).has_value());
    return std::unique_ptr<LinuxIptables>(new LinuxIptables(std::move(found->path), variant, family, found->version,
                                                            std::move(wait), std::move(options)));
}

Result<void> LinuxIptables::save(std::string_view table, const LineSink& line) {
    // Of a table that does not exist iptables-nft prints what it would look like; iptables-legacy creates it.
    if (variant_ == Variant::kLegacy && !legacy_has_table(family_, table)) return {};
    if (variant_ == Variant::kNft) {
        ASSIGN_OR_RETURN(const bool exists, nft_has_table(family_, table));
        if (!exists) return {};
    }
    std::string foreign;  // what nft wrote and iptables-nft cannot read
    const auto take = [&](std::string_view text) {
        if (text.starts_with(':')) {
            line(without_counters(text));
        } else if (text.starts_with('-')) {
            line(text);
        } else if (text.find("is incompatible") != std::string_view::npos) {
            foreign = text;
        }
    };
    LineSplitter lines;
    auto what = prepared({program_ + "-save", "-t", std::string(table)}, options_);
    what.output_sink = [&](std::string_view piece) { lines.feed(piece, take); };
    ASSIGN_OR_RETURN(const Finished done, run_to_its_end(what));
    lines.finish(take);
    if (done.status != 0) return fail("{}-save: {}", program_, last_words(done));
    if (!foreign.empty()) return fail("{}-save: {}", program_, foreign);
    return {};
}

Result<Refused> LinuxIptables::restore(const TextSource& text) {
    std::optional<Result<Locks>> locks;
    if (restore_wait_.own_locks) {
        locks = Locks::take(options_.locks);
        if (!*locks) {
            if (locks->error().code != EBUSY) return locks->error();
            return Refused(Refusal{locks->error().message, 0, true});
        }
    }
    // Without --counters, which is about counters in front of rules: none are given, and with it a policy would need
    // some too.
    auto what = prepared({program_ + "-restore", "--noflush"}, options_);
    what.argv.insert(what.argv.end(), restore_wait_.flags.begin(), restore_wait_.flags.end());
    what.input_source = text;
    what.listed = options_.writers.get();
    ASSIGN_OR_RETURN(const Finished done, run_to_its_end(what));
    if (done.status == 0) return Refused();
    return Refused(read_refusal(variant_, done.status, done.err));
}

Result<bool> LinuxIptables::has_chain(std::string_view table, std::string_view chain) {
    if (chain.size() > kLongestChain) return false;
    // `iptables-nft -S CHAIN` has one exit code for a chain that is absent and for one that it cannot read.
    if (variant_ == Variant::kNft) {
        // Built-in chains count as there when their table is; the kernel gets each when something is put into it.
        const auto built_in = built_in_chains(table);
        if (std::find(built_in.begin(), built_in.end(), chain) != built_in.end()) return nft_has_table(family_, table);
        return nft_has_chain(family_, table, chain);
    }
    if (!legacy_has_table(family_, table)) return false;
    auto what = prepared({program_}, options_);
    const auto wait = wait_flags(version_);
    what.argv.insert(what.argv.end(), wait.begin(), wait.end());
    what.argv.insert(what.argv.end(), {"-t", std::string(table), "-S", std::string(chain)});
    what.output_sink = [](std::string_view) {};
    ASSIGN_OR_RETURN(const Finished done, run_to_its_end(what));
    if (done.status == 0) return true;
    if (done.status == kAbsent) return false;
    const auto refusal = read_refusal(variant_, done.status, done.err);
    const auto message = fmt::format("look for chain {} of table {}: {}", chain, table, refusal.reason);
    if (refusal.lock_held) return errno_error(EBUSY, message);
    return fail("{}", message);
}

Result<void> LinuxIptables::check_usable() {
    auto what = prepared({program_}, options_);
    const auto wait = wait_flags(version_);
    what.argv.insert(what.argv.end(), wait.begin(), wait.end());
    what.argv.insert(what.argv.end(), {"-t", "nat", "-S", "POSTROUTING"});
    what.output_sink = [](std::string_view) {};
    ASSIGN_OR_RETURN(const Finished done, run_to_its_end(what));
    if (done.status == 0) return {};
    return fail("{}: {}", program_, read_refusal(variant_, done.status, done.err).reason);
}

std::vector<Variant> find_variants(net::Family family, const LinuxOptions& options) {
    std::vector<Variant> result;
    for (const auto variant : {Variant::kNft, Variant::kLegacy})
        if (find(variant, family, options)) result.push_back(variant);
    return result;
}

}  // namespace ghostip::kernel::iptables
