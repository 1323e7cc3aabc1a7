#include "agent/config/decode.h"

#include <fcntl.h>

#include <array>
#include <limits>
#include <set>
#include <type_traits>

#include "agent/config/defaults.h"
#include "api/byte_reader.h"
#include "api/codec/field.h"
#include "api/document_tree.h"
#include "base/fd.h"

namespace ghostip::agent::config {
namespace {

using api::codec::Field;

// The first error of each field is kept; notices are what only a strict reader minds.
class Problems : public api::DecodeSink {
  public:
    void object(api::Decoded /*decoded*/) override {}
    void problem(api::Problem problem) override {
        (problem.severity == api::Severity::kError ? errors : notices).push_back(problem.text());
    }
    std::vector<std::string> errors;
    std::vector<std::string> notices;
};

template <typename T>
concept Section = requires(T& section) {
    T::fields(section, [](auto&&...) {});
};

// Null leaves a field as it is, as in Go; so does a value of the wrong type, which is reported.

void read(const Field& field, std::string& value) {
    if (const auto text = field.text()) value = *text;
}

void read(const Field& field, bool& value) {
    if (const auto flag = field.boolean()) value = *flag;
}

template <typename T>
requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) void read(const Field& field, T& value) {
    if (const auto number = field.number(std::numeric_limits<T>::min(), std::numeric_limits<T>::max()))
        value = static_cast<T>(*number);
}

void read(const Field& field, float& value) {
    const auto text = field.number_text();
    if (!text) return;
    const auto number = parse_float(*text);
    if (number)
        value = *number;
    else
        field.error("must be a number that is not too large");
}

void read(const Field& field, Duration& value) {
    const auto text = field.text();
    if (!text) return;
    const auto duration = parse_duration(*text);
    if (duration)
        value = *duration;
    else
        field.error("must be a duration such as 30s or 1h5m: " + duration.error().message);
}

void read(const Field& field, MinSyncPeriod& value) {
    Duration duration{0};
    read(field, duration);
    value.named = duration == Duration(0) ? std::nullopt : std::optional(duration);
}

void read(const Field& field, FlushFrequency& value) {
    value.as_number = field.is_number();
    if (!value.as_number) return read(field, value.duration);
    std::int64_t nanoseconds = 0;
    read(field, nanoseconds);
    value.duration = Duration(nanoseconds);
}

void read(const Field& field, Quantity& value) {
    const auto text = field.is_number() ? field.number_text() : field.text();
    if (!text) return;
    auto quantity = parse_quantity(*text);
    if (quantity)
        value = std::move(*quantity);
    else
        field.error("must be a size such as 512, 1k or 2Ki");
}

template <typename T>
void read(const Field& field, std::optional<T>& value) {
    if (!field.given()) return;
    T inner{};
    read(field, inner);
    value = inner;
}

template <Section T>
void read(const Field& field, T& section);

template <typename T>
void read(const Field& field, std::vector<T>& values) {
    std::vector<T> read_values;
    field.each([&](const Field& element) { read(element, read_values.emplace_back()); });
    if (field.given()) values = std::move(read_values);
}

void read(const Field& field, GateSettings& gates) {
    field.each_member([&](const Field& member) { read(member, gates[std::string(member.key())]); });
}

template <Section T>
void read(const Field& field, T& section) {
    constexpr bool kTop = std::is_same_v<T, KubeProxyConfiguration>;
    std::set<std::string_view> seen;
    field.each_member([&](const Field& member) {
        if (!seen.insert(member.key()).second) member.notice("stands there twice, this one counts");
        bool known = kTop && (member.key() == "apiVersion" || member.key() == "kind");
        T::fields(section, [&](std::string_view name, auto& value, Empty = Empty::kWritten) {
            if (name != member.key()) return;
            known = true;
            read(member, value);
        });
        if (!known) member.notice("is not a field that there is; ignored");
    });
}

void check_type(const Field& root) {
    for (const auto& [key, expected] : {std::pair{"apiVersion", kApiVersion}, std::pair{"kind", kKind}}) {
        const Field field = root.member(key);
        const auto text = field.text();
        if (!field.given())
            field.error(fmt::format("is missing; must be {}", quoted(expected)));
        else if (text && *text != expected)
            field.error(fmt::format("must be {}", quoted(expected)));
    }
}

}  // namespace

Result<DecodedConfiguration> decode_configuration(std::string_view text, std::string_view file) {
    ASSIGN_OR_RETURN(const auto tree, api::parse_document(text, file, api::DuplicateKeys::kKeep));
    Problems problems;
    api::codec::ObjectScope scope{*tree, file, problems};
    const Field root = Field::root(scope);
    check_type(root);
    DecodedConfiguration decoded;
    if (problems.errors.empty()) read(root, decoded.configuration);
    if (!problems.errors.empty()) return fail("{}", join(problems.errors, "; "));
    decoded.lenient = std::move(problems.notices);
    apply_defaults(decoded.configuration);
    return decoded;
}

Result<DecodedConfiguration> read_configuration(const std::string& path) {
    Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!fd) return fail_errno("open {}", path);
    api::FileReader reader(std::move(fd));
    std::string text;
    std::array<char, 16384> buffer{};
    while (true) {
        const auto size = reader.read(buffer);
        if (!size) return size.error().within(path);
        if (*size == 0) break;
        text.append(buffer.data(), *size);
        if (text.size() > api::codec::kMaxObjectBytes) return fail("{}: is too large for a configuration file", path);
    }
    return decode_configuration(text, path);
}

}  // namespace ghostip::agent::config
