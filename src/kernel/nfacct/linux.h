// The counters of the kernel, through netlink. As nfacct.h says.
#pragma once

#include <memory>

#include "base/fd.h"
#include "kernel/nfacct/nfacct.h"

namespace ghostip::kernel::nfacct {

class LinuxNfacct final : public Nfacct {
  public:
    [[nodiscard]] static Result<std::unique_ptr<LinuxNfacct>> open();

    [[nodiscard]] Result<void> create(std::string_view name) override;
    [[nodiscard]] Result<std::optional<Counter>> read(std::string_view name) override;

  private:
    explicit LinuxNfacct(Fd socket) : socket_(std::move(socket)) {}

    Fd socket_;
    std::uint32_t sequence_ = 0;
};

}  // namespace ghostip::kernel::nfacct
