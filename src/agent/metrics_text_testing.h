// For tests: reads Prometheus' text format 0.0.4 as strictly as its description is, and says what breaks it.
#pragma once

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace ghostip::agent::testing {

struct Sample {
    std::string name;
    std::map<std::string, std::string> labels;
    double value = 0;
};

struct MetricText {
    std::string type;
    std::string help;
    std::vector<Sample> samples;
};

struct Exposition {
    std::map<std::string, MetricText> metrics;
    std::vector<std::string> complaints;  // empty: it is well formed
};

namespace detail {

inline bool is_name(std::string_view text, bool colons) {
    if (text.empty() || std::isdigit(static_cast<unsigned char>(text[0])) != 0) return false;
    for (const char c : text)
        if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_' && !(colons && c == ':')) return false;
    return true;
}

// `{a="b",c="d"}` taken off the front of `rest`.
inline bool take_labels(std::string_view& rest, std::map<std::string, std::string>& labels) {
    if (rest.empty() || rest[0] != '{') return true;
    rest.remove_prefix(1);
    while (!rest.empty() && rest[0] != '}') {
        const auto equals = rest.find("=\"");
        if (equals == std::string_view::npos || !is_name(rest.substr(0, equals), false)) return false;
        const std::string name(rest.substr(0, equals));
        rest.remove_prefix(equals + 2);
        std::string value;
        while (!rest.empty() && rest[0] != '"') {
            if (rest[0] == '\\') {
                if (rest.size() < 2 || (rest[1] != '\\' && rest[1] != '"' && rest[1] != 'n')) return false;
                value += rest[1] == 'n' ? '\n' : rest[1];
                rest.remove_prefix(2);
            } else {
                value += rest[0];
                rest.remove_prefix(1);
            }
        }
        if (rest.empty() || !labels.emplace(name, value).second) return false;
        rest.remove_prefix(1);
        if (!rest.empty() && rest[0] == ',') rest.remove_prefix(1);
    }
    if (rest.empty()) return false;
    rest.remove_prefix(1);
    return true;
}

inline std::optional<double> number(const std::string& text) {
    if (text == "+Inf") return std::numeric_limits<double>::infinity();
    if (text == "-Inf") return -std::numeric_limits<double>::infinity();
    if (text == "NaN") return std::nan("");
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || std::isspace(static_cast<unsigned char>(text[0])) != 0) return std::nullopt;
    return value;
}

inline std::optional<Sample> sample(std::string_view line) {
    Sample result;
    const auto name_end = line.find_first_of("{ ");
    result.name = std::string(line.substr(0, name_end));
    if (name_end == std::string_view::npos || !is_name(result.name, true)) return std::nullopt;
    line.remove_prefix(name_end);
    if (!take_labels(line, result.labels) || line.empty() || line[0] != ' ') return std::nullopt;
    const auto value = number(std::string(line.substr(1)));
    if (!value) return std::nullopt;
    result.value = *value;
    return result;
}

inline bool belongs(const std::string& sample, const std::string& metric, const std::string& type) {
    if (sample == metric) return type != "histogram";
    return type == "histogram" &&
           (sample == metric + "_bucket" || sample == metric + "_sum" || sample == metric + "_count");
}

// Buckets ascend, end in +Inf, and agree with the count; for each combination of the other labels.
inline void check_histogram(const std::string& name, const MetricText& metric, std::vector<std::string>& complaints) {
    struct Series {
        std::vector<std::pair<double, double>> buckets;
        std::optional<double> count;
        std::optional<double> sum;
    };
    std::map<std::map<std::string, std::string>, Series> all;
    for (const auto& sample : metric.samples) {
        auto labels = sample.labels;
        const auto limit = number(labels["le"]);
        labels.erase("le");
        auto& series = all[labels];
        if (sample.name == name + "_bucket") {
            if (!limit) complaints.push_back(name + ": a bucket without a limit");
            if (limit) series.buckets.emplace_back(*limit, sample.value);
        } else {
            (sample.name == name + "_sum" ? series.sum : series.count) = sample.value;
        }
    }
    for (const auto& [labels, series] : all) {
        const auto& buckets = series.buckets;
        for (std::size_t i = 1; i < buckets.size(); ++i)
            if (buckets[i].first <= buckets[i - 1].first || buckets[i].second < buckets[i - 1].second)
                complaints.push_back(name + ": buckets do not ascend");
        if (buckets.empty() || !std::isinf(buckets.back().first) || !series.count || !series.sum ||
            *series.count != buckets.back().second)
            complaints.push_back(name + ": sum, count and the last bucket do not agree");
    }
}

}  // namespace detail

inline Exposition parse_metrics(const std::string& text) {
    Exposition result;
    const auto complain = [&](const std::string& what, const std::string& line) {
        result.complaints.push_back(what + ": " + line);
    };
    if (!text.empty() && text.back() != '\n') complain("no new line at the end", text.substr(text.rfind('\n') + 1));
    std::istringstream lines(text);
    std::string line;
    std::string current;  // the metric whose samples follow
    std::set<std::pair<std::string, std::map<std::string, std::string>>> seen;
    while (std::getline(lines, line)) {
        const bool help = line.rfind("# HELP ", 0) == 0;
        if (help || line.rfind("# TYPE ", 0) == 0) {
            const auto space = line.find(' ', 7);
            const auto name = line.substr(7, space - 7);
            if (space == std::string::npos || !detail::is_name(name, true)) {
                complain("no name", line);
                continue;
            }
            if (help && !result.metrics.emplace(name, MetricText{}).second) complain("described twice", line);
            if (help) current = name;
            if (!help &&
                (name != current || !result.metrics[name].type.empty() || !result.metrics[name].samples.empty()))
                complain("a type that stands in the wrong place", line);
            (help ? result.metrics[name].help : result.metrics[name].type) = line.substr(space + 1);
            static const std::set<std::string> types{"counter", "gauge", "histogram"};
            if (!help && !types.contains(result.metrics[name].type)) complain("unknown type", line);
            continue;
        }
        const auto sample = detail::sample(line);
        if (!sample) {
            complain("not a sample", line);
            continue;
        }
        auto& metric = result.metrics[current];
        if (!detail::belongs(sample->name, current, metric.type)) complain("not under its metric", line);
        if (!seen.emplace(sample->name, sample->labels).second) complain("twice", line);
        if (metric.type == "counter" && !(sample->value >= 0)) complain("a counter below 0", line);
        metric.samples.push_back(*sample);
    }
    for (const auto& [name, metric] : result.metrics) {
        if (metric.type.empty() || metric.help.empty() || metric.samples.empty()) complain("incomplete", name);
        if (metric.type == "histogram") detail::check_histogram(name, metric, result.complaints);
    }
    return result;
}

}  // namespace ghostip::agent::testing
