#include "agent/metrics_registry.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace ghostip::agent {
namespace {

std::string escaped(std::string_view text, bool quotes) {
    std::string out;
    for (const char c : text) {
        if (c == '\\') {
            out += "\\\\";
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '"' && quotes) {
            out += "\\\"";
        } else {
            out += c;
        }
    }
    return out;
}

std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
    return fmt::format("{}", value);
}

// `{a="1",b="2"}`; nothing without labels.
std::string label_text(const std::vector<std::string>& names, const LabelValues& values) {
    std::string out;
    for (std::size_t i = 0; i < names.size(); ++i)
        out += fmt::format("{}{}=\"{}\"", i == 0 ? "{" : ",", names[i], escaped(values[i], true));
    return out.empty() ? out : out + "}";
}

template <typename Child>
std::string simple_samples(const Family<Child>& family, const std::string& name) {
    std::string out;
    family.each([&](const LabelValues& values, const Child& child) {
        out += fmt::format("{}{} {}\n", name, label_text(family.labels(), values), number(child.value()));
    });
    return out;
}

// The count is the last bucket, read once, so that the two always agree.
template <typename Cumulative>
std::string one_histogram(const std::string& name, const std::vector<std::string>& labels, const LabelValues& values,
                          const std::vector<double>& limits, double sum, const Cumulative& cumulative) {
    auto bucket_labels = labels;
    bucket_labels.emplace_back("le");
    std::string out;
    std::uint64_t count = 0;
    for (std::size_t i = 0; i <= limits.size(); ++i) {
        auto bucket_values = values;
        bucket_values.push_back(i < limits.size() ? number(limits[i]) : "+Inf");
        count = std::max<std::uint64_t>(count, cumulative(i));
        out += fmt::format("{}_bucket{} {}\n", name, label_text(bucket_labels, bucket_values), count);
    }
    const std::string own = label_text(labels, values);
    return out + fmt::format("{}_sum{} {}\n{}_count{} {}\n", name, own, number(sum), name, own, count);
}

std::string histogram_samples(const Family<Histogram>& family, const std::string& name) {
    std::string out;
    family.each([&](const LabelValues& values, const Histogram& child) {
        out += one_histogram(name, family.labels(), values, child.limits(), child.sum(),
                             [&](std::size_t i) { return child.cumulative(i); });
    });
    return out;
}

}  // namespace

void Histogram::observe(double value) {
    const auto at = std::lower_bound(limits_.begin(), limits_.end(), value) - limits_.begin();
    counts_[static_cast<std::size_t>(at)].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(value, std::memory_order_relaxed);
}

std::uint64_t Histogram::cumulative(std::size_t index) const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i <= index && i < counts_.size(); ++i) sum += counts_[i].load(std::memory_order_relaxed);
    return sum;
}

void MetricsRegistry::add(std::string name, Entry entry) {
    entries_.insert_or_assign(std::move(name), std::move(entry));
}

Family<Counter>& MetricsRegistry::counter(std::string name, std::string help, std::vector<std::string> labels) {
    auto family = std::make_shared<Family<Counter>>(std::move(labels), [] { return std::make_unique<Counter>(); });
    const std::lock_guard lock(mutex_);
    families_.push_back(family);
    add(std::move(name),
        {std::move(help), "counter", [&of = *family](const std::string& as) { return simple_samples(of, as); }});
    return *family;
}

Family<Gauge>& MetricsRegistry::gauge(std::string name, std::string help, std::vector<std::string> labels) {
    auto family = std::make_shared<Family<Gauge>>(std::move(labels), [] { return std::make_unique<Gauge>(); });
    const std::lock_guard lock(mutex_);
    families_.push_back(family);
    add(std::move(name),
        {std::move(help), "gauge", [&of = *family](const std::string& as) { return simple_samples(of, as); }});
    return *family;
}

Family<Histogram>& MetricsRegistry::histogram(std::string name, std::string help, std::vector<double> limits,
                                              std::vector<std::string> labels) {
    auto family = std::make_shared<Family<Histogram>>(
        std::move(labels), [limits = std::move(limits)] { return std::make_unique<Histogram>(limits); });
    const std::lock_guard lock(mutex_);
    families_.push_back(family);
    add(std::move(name),
        {std::move(help), "histogram", [&of = *family](const std::string& as) { return histogram_samples(of, as); }});
    return *family;
}

void MetricsRegistry::observed(Kind kind, std::string name, std::string help, std::function<double()> value) {
    const std::lock_guard lock(mutex_);
    add(std::move(name),
        {std::move(help), kind == Kind::kCounter ? "counter" : "gauge",
         [ask = std::move(value)](const std::string& as) { return fmt::format("{} {}\n", as, number(ask())); }});
}

void MetricsRegistry::observed_family(Kind kind, std::string name, std::string help, std::vector<std::string> labels,
                                      std::function<Values()> values) {
    const std::lock_guard lock(mutex_);
    add(std::move(name), {std::move(help), kind == Kind::kCounter ? "counter" : "gauge",
                          [names = std::move(labels), ask = std::move(values)](const std::string& as) {
                              std::string out;
                              for (auto [label_values, value] : ask()) {
                                  label_values.resize(names.size());
                                  out += fmt::format("{}{} {}\n", as, label_text(names, label_values), number(value));
                              }
                              return out;
                          }});
}

void MetricsRegistry::observed_histograms(std::string name, std::string help, std::vector<std::string> labels,
                                          std::vector<double> limits, std::function<Histograms()> values) {
    const std::lock_guard lock(mutex_);
    add(std::move(name),
        {std::move(help), "histogram",
         [names = std::move(labels), limits = std::move(limits), ask = std::move(values)](const std::string& as) {
             std::string out;
             for (auto& one : ask()) {
                 one.labels.resize(names.size());
                 one.counts.resize(limits.size() + 1);
                 std::uint64_t below = 0;
                 out += one_histogram(as, names, one.labels, limits, one.sum,
                                      [&](std::size_t i) { return below += one.counts[i]; });
             }
             return out;
         }});
}

std::size_t MetricsRegistry::count_described(std::string_view start) const {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
        return std::string_view(entry.second.help).substr(0, start.size()) == start;
    }));
}

std::string MetricsRegistry::text() const {
    const std::lock_guard lock(mutex_);
    std::string out;
    for (const auto& [name, entry] : entries_) {
        const std::string samples = entry.samples(name);
        if (samples.empty()) continue;
        out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, escaped(entry.help, false), name, entry.type);
        out += samples;
    }
    return out;
}

std::vector<double> exponential_limits(double start, double factor, int count) {
    std::vector<double> limits;
    for (int i = 0; i < count; ++i) {
        limits.push_back(start);
        start *= factor;
    }
    return limits;
}

}  // namespace ghostip::agent
