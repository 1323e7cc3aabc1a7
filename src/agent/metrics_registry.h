// Counters, gauges and histograms with labels, and their text for Prometheus (exposition format 0.0.4).
//
// Families are declared once, with everything that does not change: name, help, label names, buckets. A family hands
// out a child for each combination of label values; children live as long as the registry and may be kept. Everything
// is thread-safe: values are atomics, so that counting never waits for somebody who reads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ghostip::agent {

class Counter {
  public:
    // Never less than 0.
    void add(double amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
    [[nodiscard]] double value() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<double> value_ = 0;
};

class Gauge {
  public:
    void set(double value) { value_.store(value, std::memory_order_relaxed); }
    void add(double amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
    [[nodiscard]] double value() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<double> value_ = 0;
};

class Histogram {
  public:
    // Upper limits, ascending; the one of everything is not among them.
    explicit Histogram(std::vector<double> limits) : limits_(std::move(limits)), counts_(limits_.size() + 1) {}
    void observe(double value);
    [[nodiscard]] const std::vector<double>& limits() const { return limits_; }
    // How many values were at most limits()[index]; the last index is for all.
    [[nodiscard]] std::uint64_t cumulative(std::size_t index) const;
    [[nodiscard]] double sum() const { return sum_.load(std::memory_order_relaxed); }

  private:
    const std::vector<double> limits_;
    std::vector<std::atomic<std::uint64_t>> counts_;  // each bucket alone
    std::atomic<double> sum_ = 0;
};

using LabelValues = std::vector<std::string>;

// One name with all its label values.
template <typename Child>
class Family {
  public:
    Family(std::vector<std::string> labels, std::function<std::unique_ptr<Child>()> make)
        : labels_(std::move(labels)), make_(std::move(make)) {}
    // As many values as there are labels, in that order.
    [[nodiscard]] Child& with(LabelValues values = {}) {
        values.resize(labels_.size());
        const std::lock_guard lock(mutex_);
        auto& child = children_[std::move(values)];
        if (child == nullptr) child = make_();
        return *child;
    }
    [[nodiscard]] const std::vector<std::string>& labels() const { return labels_; }
    template <typename Visit>
    void each(const Visit& visit) const {
        const std::lock_guard lock(mutex_);
        for (const auto& [values, child] : children_) visit(values, *child);
    }

  private:
    const std::vector<std::string> labels_;
    const std::function<std::unique_ptr<Child>()> make_;
    mutable std::mutex mutex_;
    std::map<LabelValues, std::unique_ptr<Child>> children_;  // guarded by mutex_
};

class MetricsRegistry {
  public:
    // Names and labels as Prometheus wants them: [a-zA-Z_:][a-zA-Z0-9_:]*. Each name once.
    [[nodiscard]] Family<Counter>& counter(std::string name, std::string help, std::vector<std::string> labels = {});
    [[nodiscard]] Family<Gauge>& gauge(std::string name, std::string help, std::vector<std::string> labels = {});
    [[nodiscard]] Family<Histogram>& histogram(std::string name, std::string help, std::vector<double> limits,
                                               std::vector<std::string> labels = {});
    // A single value that is asked for when somebody reads, on that thread.
    enum class Kind : std::uint8_t { kCounter, kGauge };
    void observed(Kind kind, std::string name, std::string help, std::function<double()> value);
    // The same with labels.
    using Values = std::vector<std::pair<LabelValues, double>>;
    void observed_family(Kind kind, std::string name, std::string help, std::vector<std::string> labels,
                         std::function<Values()> values);

    // The same for histograms that somebody else counts: each bucket alone, one more than there are limits.
    struct HistogramValue {
        LabelValues labels;
        std::vector<std::uint64_t> counts;
        double sum = 0;
    };
    using Histograms = std::vector<HistogramValue>;
    void observed_histograms(std::string name, std::string help, std::vector<std::string> labels,
                             std::vector<double> limits, std::function<Histograms()> values);

    // How many names have a help that starts so.
    [[nodiscard]] std::size_t count_described(std::string_view start) const;

    // Families in the order of their names. Families without children are left out.
    [[nodiscard]] std::string text() const;

  private:
    struct Entry {
        std::string help;
        const char* type;
        std::function<std::string(const std::string& name)> samples;
    };
    void add(std::string name, Entry entry);

    mutable std::mutex mutex_;
    std::map<std::string, Entry> entries_;         // guarded by mutex_
    std::vector<std::shared_ptr<void>> families_;  // guarded by mutex_; owns what entries_ refer to
};

// `start`, `start * factor`, … : `count` limits.
[[nodiscard]] std::vector<double> exponential_limits(double start, double factor, int count);

}  // namespace ghostip::agent
