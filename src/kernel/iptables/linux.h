// iptables by its own programs: iptables-restore and iptables-save of one variant and one family. Texts go in and come
// out piece by piece, so that neither side ever holds one as a whole. The programs get a minimal environment and
// nothing else of this process; they are left to finish when it ends.
//
// As iptables.h says: blocking, for one thread at a time, for the network namespace that this thread is in.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/running_programs.h"
#include "kernel/iptables/iptables.h"
#include "kernel/iptables/locks.h"
#include "kernel/iptables/versions.h"

namespace ghostip::kernel::iptables {

struct LinuxOptions {
    // Where programs are looked for; empty: in PATH, then in the usual folders of root's programs.
    std::vector<std::string> folders = {};
    LockPlaces locks = {};
    std::chrono::milliseconds time_limit = std::chrono::minutes(5);  // of a program
    std::shared_ptr<RunningPrograms> writers = {};                   // lists the programs that write; null: nobody does
};

class LinuxIptables final : public Iptables {
  public:
    // Finds the programs and asks for their version. `iptables-nft` before `iptables` if the latter says that it is of
    // the same variant. Error ENOENT: there are none.
    [[nodiscard]] static Result<std::unique_ptr<LinuxIptables>> open(Variant variant, net::Family family,
                                                                     LinuxOptions options = {});

    using Iptables::restore;
    [[nodiscard]] net::Family family() const override { return family_; }
    [[nodiscard]] Variant variant() const override { return variant_; }
    [[nodiscard]] Version version() const override { return version_; }
    [[nodiscard]] Result<void> save(std::string_view table, const LineSink& line) override;
    [[nodiscard]] Result<Refused> restore(const TextSource& text) override;
    [[nodiscard]] Result<bool> has_chain(std::string_view table, std::string_view chain) override;

    // Error: the kernel has no table nat of this variant and family; in the program's words. Makes the kernel load it.
    [[nodiscard]] Result<void> check_usable();

    [[nodiscard]] const std::string& program() const { return program_; }  // "/usr/sbin/iptables-nft"

  private:
    LinuxIptables(std::string program, Variant variant, net::Family family, Version version, RestoreWait wait,
                  LinuxOptions options)
        : program_(std::move(program)),
          variant_(variant),
          family_(family),
          version_(version),
          restore_wait_(std::move(wait)),
          options_(std::move(options)) {}

    const std::string program_;
    const Variant variant_;
    const net::Family family_;
    const Version version_;
    const RestoreWait restore_wait_;
    const LinuxOptions options_;
};

// The variants whose programs are here, which does not say that the kernel can do them.
[[nodiscard]] std::vector<Variant> find_variants(net::Family family, const LinuxOptions& options = {});

}  // namespace ghostip::kernel::iptables
