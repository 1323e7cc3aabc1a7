#include "kernel/sockets/listeners.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>

#include <fmt/format.h>

namespace ghostip::kernel::sockets {
namespace {

// net/tcp_states.h; a socket of UDP that is bound and not connected has that of TCP_CLOSE.
constexpr unsigned kTcpListen = 0x0a;
constexpr unsigned kUdpOpen = 0x07;

template <typename Number>
std::optional<Number> number(std::string_view text, int base) {
    Number value{};
    const auto* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value, base);
    if (error != std::errc{} || rest != end) return std::nullopt;
    return value;
}

// Words of 32 bits, each printed as a number of this machine.
std::optional<net::IpAddress> address_of(std::string_view text, net::Family family) {
    constexpr std::size_t kDigits = 8;
    std::array<std::uint8_t, 16> bytes{};
    const std::size_t words = family == net::Family::kIpv4 ? 1 : 4;
    if (text.size() != words * kDigits) return std::nullopt;
    for (std::size_t i = 0; i < words; ++i) {
        const auto word = number<std::uint32_t>(text.substr(i * kDigits, kDigits), 16);
        if (!word) return std::nullopt;
        std::memcpy(&bytes[i * sizeof *word], &*word, sizeof *word);
    }
    return net::IpAddress::from_bytes(family, bytes.data());
}

std::optional<Entry> entry_of(const std::string& line, net::Family family, unsigned state) {
    std::istringstream words(line);
    std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...
    constexpr std::size_t kLocal = 1;
    constexpr std::size_t kState = 3;
    constexpr std::size_t kInode = 9;
    if (fields.size() <= kInode || number<unsigned>(fields[kState], 16) != state) return std::nullopt;
    const std::string_view local = fields[kLocal];
    const auto colon = local.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto address = address_of(local.substr(0, colon), family);
    const auto port = number<std::uint16_t>(local.substr(colon + 1), 16);
    const auto inode = number<std::uint64_t>(fields[kInode], 10);
    if (!address || !port || !inode) return std::nullopt;
    return Entry{*address, *port, *inode};
}

std::string name_of(const std::filesystem::path& process) {
    std::ifstream file(process / "comm");
    std::string name;
    std::getline(file, name);
    return name;
}

// Whoever has one of these open, by the inode. A process that ends meanwhile, or that may not be looked at, is left
// out.
std::map<std::uint64_t, std::vector<Process>> holders(const std::vector<Entry>& entries) {
    namespace fs = std::filesystem;
    std::map<std::string, std::uint64_t> wanted;
    for (const auto& entry : entries) wanted.emplace(fmt::format("socket:[{}]", entry.inode), entry.inode);
    std::map<std::uint64_t, std::vector<Process>> all;
    std::error_code ignored;
    for (fs::directory_iterator process("/proc", ignored), end; process != end; process.increment(ignored)) {
        const auto id = number<int>(process->path().filename().string(), 10);
        if (!id) continue;
        std::error_code gone;
        for (fs::directory_iterator fd(process->path() / "fd", gone); fd != end; fd.increment(gone)) {
            const auto found = wanted.find(fs::read_symlink(fd->path(), gone).string());
            if (found == wanted.end()) continue;
            auto& some = all[found->second];
            if (some.empty() || some.back().id != *id) some.push_back({*id, name_of(process->path())});
        }
    }
    return all;
}

}  // namespace

std::vector<Entry> listening_in(std::string_view text, net::Family family, net::Protocol protocol) {
    std::vector<Entry> entries;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);)
        if (const auto entry = entry_of(line, family, protocol == net::Protocol::kTcp ? kTcpListen : kUdpOpen))
            entries.push_back(*entry);
    return entries;
}

Result<std::vector<Listener>> listeners_at(const net::IpAddress& address, net::Protocol protocol, std::uint16_t port) {
    if (protocol == net::Protocol::kSctp) return fail("sockets of SCTP are not looked for");
    const auto path = fmt::format("/proc/thread-self/net/{}{}", net::protocol_lower_name(protocol),
                                  address.family() == net::Family::kIpv4 ? "" : "6");
    std::ifstream file(path);
    if (!file) return fail_errno("read {}", path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    auto entries = listening_in(text, address.family(), protocol);
    std::erase_if(entries, [&](const auto& entry) {
        return entry.port != port || (entry.address != address && !entry.address.is_unspecified());
    });
    auto who = holders(entries);
    std::map<net::IpAddress, Listener> by_address;
    for (const auto& entry : entries) {
        auto& one = by_address.try_emplace(entry.address, Listener{entry.address, port, {}}).first->second;
        for (auto& process : who[entry.inode])
            if (std::find(one.processes.begin(), one.processes.end(), process) == one.processes.end())
                one.processes.push_back(process);
    }
    std::vector<Listener> all;
    for (auto& [at, one] : by_address) {
        std::sort(one.processes.begin(), one.processes.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
        all.push_back(std::move(one));
    }
    return all;
}

}  // namespace ghostip::kernel::sockets
