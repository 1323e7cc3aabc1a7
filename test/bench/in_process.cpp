#include "bench/in_process.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "bench/figures.h"
#include "dataplane/nftables/dataplane.h"
#include "kernel/nft/linux.h"
#include "plan/planner.h"
#include "source/manifests/manifest_set.h"
#include "support/namespace.h"

namespace ghostip::bench {
namespace {

using kernel::nft::Batch;
using kernel::nft::Contents;
using kernel::nft::CountedDump;
using kernel::nft::Dump;
using kernel::nft::Elements;
using kernel::nft::Refusal;
using kernel::nft::Set;
using kernel::nft::Table;

constexpr int kChanges = 1000;
constexpr int kBursts = 5;

// Encoding is in it, which happens before the kernel's lock is taken.
struct Commits {
    int count = 0;
    double longest = 0;
};

// The real kernel, and how long each commit took.
class TimedKernel final : public kernel::nft::Kernel {
  public:
    TimedKernel(std::unique_ptr<kernel::nft::Kernel> kernel, Commits& commits)
        : kernel_(std::move(kernel)), commits_(commits) {}

    Result<void> commit(const Batch& batch, Refusal* refusal) override {
        const auto begin = Clock::now();
        auto result = kernel_->commit(batch, refusal);
        commits_.longest = std::max(commits_.longest, milliseconds_since(begin));
        ++commits_.count;
        return result;
    }
    Result<void> check(const Batch& batch) override { return kernel_->check(batch); }
    Result<Dump> read(const Table& table, const Set& set) override { return kernel_->read(table, set); }
    Result<Elements> look_up(const Table& table, const Set& set, const Elements& keys) override {
        return kernel_->look_up(table, set, keys);
    }
    Result<CountedDump> read_counts(const Table& table, const Set& set) override {
        return kernel_->read_counts(table, set);
    }
    Result<bool> has_catch_all(const Table& table, const Set& set) override {
        return kernel_->has_catch_all(table, set);
    }
    Result<std::optional<Contents>> contents(const Table& table) override { return kernel_->contents(table); }
    Result<bool> exists(const Table& table) override { return kernel_->exists(table); }
    void wait_for_packets() override { kernel_->wait_for_packets(); }
    [[nodiscard]] std::uint32_t port_id() const override { return kernel_->port_id(); }

  private:
    const std::unique_ptr<kernel::nft::Kernel> kernel_;
    Commits& commits_;
};

// Listens to the kernel's notifications while it lives.
class Listener {
  public:
    explicit Listener(dataplane::Dataplane& dataplane) : stop_(::eventfd(0, EFD_CLOEXEC)) {
        const std::array<dataplane::Dataplane*, 1> all{&dataplane};
        watch_ = must(dataplane::nftables::mode().watch(all));
        thread_ = std::thread([this] { run(); });
    }
    ~Listener() {
        const std::uint64_t one = 1;
        static_cast<void>(!::write(stop_.get(), &one, sizeof one));
        thread_.join();
    }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

  private:
    void run() {
        while (true) {
            const auto writes = watch_->wait(stop_.get());
            if (!writes || writes->empty()) return;
        }
    }
    const Fd stop_;
    std::unique_ptr<dataplane::DriftWatch> watch_;
    std::thread thread_;
};

plan::NodeSettings settings() {
    plan::NodeSettings node;
    node.node_name = "node-0";
    node.cluster_cidrs = {*net::Prefix::parse_lenient(kPods)};
    return node;
}

class Bench {
  public:
    Bench(const std::filesystem::path& manifest, With with)
        : planner_(net::Family::kIpv4, settings(), plan::nftables_profile(), {}) {
        auto begin = Clock::now();
        auto set = must(source::ManifestSet::open(manifest));
        auto delivery = set.load();
        figures.decode = milliseconds_since(begin);
        begin = Clock::now();
        static_cast<void>(planner_.apply(delivery.changes));
        figures.plan = milliseconds_since(begin);
        for (auto& change : delivery.changes)
            if (change.key.kind == api::Kind::kEndpointSlice) slices_.push_back(std::move(change));
        if (with == With::kKernel) program();
    }

    void one_by_one() {
        std::vector<double> total;
        std::vector<double> planning;
        for (int i = 0; i < kChanges; ++i) {
            auto& slice = slices_[random_() % slices_.size()];
            slice = replace_endpoint(slice, round_++, random_);
            const std::vector<api::Change> changes{slice};
            const auto begin = Clock::now();
            const auto delta = planner_.apply(changes);
            planning.push_back(milliseconds_since(begin));
            if (dataplane_) static_cast<void>(must(dataplane_->apply(delta)));
            total.push_back(milliseconds_since(begin));
        }
        figures.change_p50 = percentile(total, 0.5);
        figures.change_p99 = percentile(total, 0.99);
        figures.change_plan_p50 = percentile(planning, 0.5);
    }

    void bursts() {
        std::vector<double> times;
        for (int burst = 0; burst < kBursts; ++burst) {
            std::vector<api::Change> changes;
            for (std::size_t i = 0; i < std::min<std::size_t>(kChanges, slices_.size()); ++i) {
                auto& slice = slices_[(static_cast<std::size_t>(burst) + i * 7919) % slices_.size()];
                slice = replace_endpoint(slice, round_++, random_);
                changes.push_back(slice);
            }
            times.push_back(apply(changes, figures.burst_transactions));
        }
        figures.burst = median(times);
    }

    void add(const std::filesystem::path& more) {
        auto set = must(source::ManifestSet::open(more));
        figures.added = apply(set.load().changes, figures.added_transactions);
    }

    void listen() { listener_ = std::make_unique<Listener>(*dataplane_); }
    // The longest transaction since the last call.
    [[nodiscard]] double longest() { return std::exchange(commits_.longest, 0); }

    ChangeFigures figures;

  private:
    void program() {
        dataplane_ = std::make_unique<dataplane::nftables::NftablesDataplane>(
            net::Family::kIpv4, std::make_unique<TimedKernel>(must(kernel::nft::LinuxKernel::open()), commits_));
        const auto begin = Clock::now();
        const auto outcome = must(dataplane_->reconcile(planner_.plan()));
        figures.program = milliseconds_since(begin);
        figures.transactions = outcome.transactions;
        figures.longest_transaction = longest();
    }

    double apply(const std::vector<api::Change>& changes, double& transactions) {
        const auto begin = Clock::now();
        const auto delta = planner_.apply(changes);
        if (dataplane_) transactions = must(dataplane_->apply(delta)).transactions;
        return milliseconds_since(begin);
    }

    plan::Planner planner_;
    std::vector<api::Change> slices_;
    Commits commits_;
    std::unique_ptr<dataplane::nftables::NftablesDataplane> dataplane_;
    std::unique_ptr<Listener> listener_;
    std::mt19937 random_{1};
    int round_ = 0;
};

ChangeFigures measure(const std::filesystem::path& manifest, const std::filesystem::path& more, With with) {
    const auto where = must(testnet::Namespace::create());
    const auto inside = where.enter();
    Bench bench(manifest, with);
    if (with == With::kKernel) bench.listen();
    bench.one_by_one();
    if (with == With::kKernel) {
        bench.bursts();
        bench.add(more);
    }
    bench.figures.longest_later = bench.longest();
    return bench.figures;
}

}  // namespace

ChangeFigures measure_changes(const std::filesystem::path& manifest, const std::filesystem::path& more, With with) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) < 0) must(Result<void>(fail_errno("pipe")));
    const pid_t child = ::fork();
    if (child == 0) {
        const auto figures = measure(manifest, more, with);
        ::_exit(::write(pipe[1], &figures, sizeof figures) == static_cast<ssize_t>(sizeof figures) ? 0 : 1);
    }
    ::close(pipe[1]);
    ChangeFigures figures;
    const bool complete = ::read(pipe[0], &figures, sizeof figures) == static_cast<ssize_t>(sizeof figures);
    ::close(pipe[0]);
    ::waitpid(child, nullptr, 0);
    if (!complete) must(Result<void>(fail("the measurement of changes failed")));
    return figures;
}

}  // namespace ghostip::bench
