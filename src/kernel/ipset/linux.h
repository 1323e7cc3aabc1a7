// The kernel of this machine: ip_set by netlink, in the network namespace that the calling thread is in when open() is
// called. Blocking; owned by one thread at a time.
#pragma once

#include <map>
#include <memory>

#include "kernel/ipset/ipset.h"
#include "kernel/ipset/messages.h"
#include "kernel/netlink/socket.h"

namespace ghostip::kernel::ipset {

class LinuxSets final : public Sets {
  public:
    // Makes the kernel load its modules, as do the calls that need more of them. ENOENT: no IP sets.
    [[nodiscard]] static Result<std::unique_ptr<LinuxSets>> open();

    [[nodiscard]] Result<void> create(const Definition& definition) override;
    [[nodiscard]] Result<std::vector<Header>> headers() override;
    [[nodiscard]] Result<std::optional<Contents>> contents(const std::string& name) override;
    [[nodiscard]] Result<std::vector<Refusal>> add(const std::string& name, Type type,
                                                   std::span<const Element> elements) override;
    [[nodiscard]] Result<std::vector<Refusal>> remove(const std::string& name, Type type,
                                                      std::span<const Element> elements) override;
    [[nodiscard]] Result<void> swap(const std::string& one, const std::string& other) override;
    [[nodiscard]] Result<bool> destroy(const std::string& name) override;

  private:
    explicit LinuxSets(netlink::Socket socket) : socket_(std::move(socket)) {}
    [[nodiscard]] Result<void> ask(nlmsghdr* request, const std::string& what,
                                   const netlink::Socket::Visit& visit = nullptr);
    [[nodiscard]] Result<std::vector<Contents>> list(nlmsghdr* request, const std::string& what);
    [[nodiscard]] Result<std::vector<Refusal>> change(Verb verb, const std::string& name, Type type,
                                                      std::span<const Element> elements);

    netlink::Socket socket_;
    std::map<std::pair<Type, net::Family>, std::uint8_t> revisions_;  // as far as they were asked for
};

}  // namespace ghostip::kernel::ipset
