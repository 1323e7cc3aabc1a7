#include "kernel/link/link.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace ghostip::kernel::link {
namespace {

// Somebody makes a device of that kind just when it was found to be missing.
class Contended : public Links {
  public:
    explicit Contended(std::string kind) : kind_(std::move(kind)) {}

    Result<std::optional<Device>> find(const std::string& name) override {
        if (!there_) return std::optional<Device>();
        return std::optional(Device{name, kind_, false});
    }
    Result<void> create_dummy(const std::string& name) override {
        there_ = true;
        return errno_error(EEXIST, "create dummy device " + name);
    }
    Result<bool> delete_dummy(const std::string&) override { return false; }
    Result<std::vector<DeviceAddress>> addresses() override { return std::vector<DeviceAddress>(); }
    Result<std::vector<Refusal>> add_addresses(const std::string&, std::span<const net::IpAddress>) override {
        return std::vector<Refusal>();
    }
    Result<std::vector<Refusal>> remove_addresses(const std::string&, std::span<const net::IpAddress>) override {
        return std::vector<Refusal>();
    }

  private:
    const std::string kind_;
    bool there_ = false;
};

TEST(Links, ADeviceThatTwoMakeAtOnceIsThere) {
    EXPECT_TRUE(Contended(std::string(kDummy)).ensure_dummy("d0"));
    const auto other = Contended("veth").ensure_dummy("d0");
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, EINVAL);
}

}  // namespace
}  // namespace ghostip::kernel::link
