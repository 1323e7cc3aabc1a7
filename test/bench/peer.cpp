#include "bench/peer.h"

#include <string>
#include <vector>

#include "bench/figures.h"
#include "support/namespace.h"

namespace ghostip::bench {
namespace {

constexpr int kChanges = 7;
constexpr int kTimedOut = 124;  // what timeout(1) says

}  // namespace

std::optional<PeerFigures> measure_peer(const std::filesystem::path& folder, Size size) {
    const auto ruleset = (folder / "peer.nft").string();
    write_peer_ruleset(ruleset, size);
    const auto where = must(testnet::Namespace::create());
    PeerFigures figures;
    auto begin = Clock::now();
    const auto output = must(where.run({"timeout", std::to_string(kPeerLimitSeconds), "nft", "-f", ruleset}));
    figures.seconds = milliseconds_since(begin) / 1000;
    if (output.status == kTimedOut) return std::nullopt;
    if (output.status != 0) must(Result<void>(fail("nft -f: {}", output.err)));
    std::vector<double> times;
    for (int i = 0; i < kChanges; ++i) {
        write_peer_change(ruleset, size, i);
        begin = Clock::now();
        must(Result<void>(where.must_run({"nft", "-f", ruleset}) ? Result<void>() : fail("nft -f: a change failed")));
        times.push_back(milliseconds_since(begin));
    }
    figures.change_milliseconds = median(times);
    return figures;
}

}  // namespace ghostip::bench
