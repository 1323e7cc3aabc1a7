#include "kernel/link/memory.h"

#include <algorithm>

namespace ghostip::kernel::link {
namespace {
constexpr std::size_t kLongestName = 15;
}

std::optional<Error> MemoryLinks::begin_call(const std::string& what) {
    const auto failure = failures_.find(++counters_.calls);
    if (failure == failures_.end()) return std::nullopt;
    const int code = failure->second;
    failures_.erase(failure);
    return errno_error(code, what);
}

Result<MemoryLinks::State*> MemoryLinks::find_dummy(const std::string& name, const std::string& what) {
    const auto found = devices_.find(name);
    if (found == devices_.end()) return errno_error(ENODEV, what);
    if (found->second.device.kind != kDummy) return not_a_dummy(found->second.device);
    return &found->second;
}

Result<std::optional<Device>> MemoryLinks::find(const std::string& name) {
    if (auto error = begin_call("look at device " + name)) return *error;
    const auto found = devices_.find(name);
    if (found == devices_.end()) return std::optional<Device>();
    return std::optional(found->second.device);
}

Result<void> MemoryLinks::create_dummy(const std::string& name) {
    const auto what = "create dummy device " + name;
    if (auto error = begin_call(what)) return *error;
    if (name.empty() || name.size() > kLongestName) return errno_error(EINVAL, what);
    if (devices_.contains(name)) return errno_error(EEXIST, what);
    devices_[name].device = {name, std::string(kDummy), false};
    return {};
}

Result<bool> MemoryLinks::delete_dummy(const std::string& name) {
    const auto what = "delete device " + name;
    if (auto error = begin_call(what)) return *error;
    const auto found = find_dummy(name, what);
    if (!found && found.error().code == ENODEV) return false;
    RETURN_IF_ERROR(found);
    devices_.erase(name);
    return true;
}

Result<std::vector<DeviceAddress>> MemoryLinks::addresses() {
    if (auto error = begin_call("list addresses of network devices")) return *error;
    std::vector<DeviceAddress> all;
    for (const auto& [name, state] : devices_) all.insert(all.end(), state.addresses.begin(), state.addresses.end());
    return all;
}

Result<std::vector<Refusal>> MemoryLinks::add_addresses(const std::string& dummy,
                                                        std::span<const net::IpAddress> addresses) {
    const auto what = "add addresses to device " + dummy;
    if (auto error = begin_call(what)) return *error;
    ASSIGN_OR_RETURN(auto* state, find_dummy(dummy, what));
    std::vector<Refusal> refusals;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        const DeviceAddress made{dummy, addresses[i], net::address_bits(addresses[i].family())};
        const bool off = addresses[i].family() == refused_;
        if (off || refused_addresses_.contains(addresses[i])) {
            refusals.push_back(
                {i, errno_error(off ? EACCES : EINVAL, fmt::format("{}: {}", what, addresses[i].text()))});
        } else if (std::find(state->addresses.begin(), state->addresses.end(), made) == state->addresses.end()) {
            state->addresses.push_back(made);
            ++counters_.added;
        }
    }
    return refusals;
}

Result<std::vector<Refusal>> MemoryLinks::remove_addresses(const std::string& dummy,
                                                           std::span<const net::IpAddress> addresses) {
    const auto what = "remove addresses from device " + dummy;
    if (auto error = begin_call(what)) return *error;
    ASSIGN_OR_RETURN(auto* state, find_dummy(dummy, what));
    for (const auto& address : addresses)
        counters_.removed +=
            std::erase(state->addresses, DeviceAddress{dummy, address, net::address_bits(address.family())});
    return std::vector<Refusal>();
}

}  // namespace ghostip::kernel::link
