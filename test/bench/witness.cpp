#include "bench/witness.h"

#include <sched.h>

#include <utility>

#include "bench/figures.h"

namespace ghostip::bench {
namespace {

using kernel::nft::AddTable;
using kernel::nft::Batch;

const Batch kNothingNew{{net::Family::kIpv4, "witness", ""}, {AddTable{}}};
constexpr std::size_t kMost = 1000000;  // commits that are remembered

}  // namespace

Result<std::unique_ptr<Witness>> Witness::start(const testnet::Namespace& where) {
    const auto inside = where.enter();
    ASSIGN_OR_RETURN(auto kernel, kernel::nft::LinuxKernel::open());
    RETURN_IF_ERROR(kernel->commit(kNothingNew));
    std::unique_ptr<Witness> witness(new Witness(std::move(kernel)));
    witness->thread_ = std::thread([self = witness.get()] { self->run(); });
    return witness;
}

Witness::~Witness() { stop(); }

void Witness::stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    stop_ = false;
}

void Witness::run() {
    const sched_param lowest_of_real_time{1};
    ::sched_setscheduler(0, SCHED_FIFO, &lowest_of_real_time);  // of this thread; without it figures are only noisier
    while (!stop_ && waits_.size() < kMost) {
        const auto begin = Clock::now();
        must(kernel_->commit(kNothingNew));
        waits_.push_back(milliseconds_since(begin));
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
}

std::vector<double> Witness::take() {
    stop();
    auto waits = std::exchange(waits_, {});
    thread_ = std::thread([this] { run(); });
    return waits;
}

}  // namespace ghostip::bench
