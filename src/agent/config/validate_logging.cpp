#include <limits>

#include "agent/config/validate.h"

namespace ghostip::agent::config {
namespace {

constexpr std::uint32_t kHighestVerbosity = std::numeric_limits<std::int32_t>::max();

void validate_routing(const OutputRouting& routing, bool alpha, const std::string& path, FieldErrors& errors) {
    if (alpha) return;
    constexpr std::string_view kDisabled = "Feature LoggingAlphaOptions is disabled";
    if (routing.split_stream) errors.forbidden(path + ".splitStream", kDisabled);
    if (routing.info_buffer_size.value != 0) errors.forbidden(path + ".infoBufferSize", kDisabled);
}

}  // namespace

void validate_logging(const Logging& logging, const GateSettings& gates, std::string_view path, FieldErrors& errors) {
    const auto below = [&](std::string_view name) { return fmt::format("{}.{}", path, name); };
    const auto at_most = fmt::format("Must be <= {}", kHighestVerbosity);
    if (logging.flush_frequency.duration <= Duration(0))
        errors.invalid(below("flushFrequency"), quoted(duration_text(logging.flush_frequency.duration)),
                       "Must be greater than zero");
    if (logging.format != "text" && logging.format != "json")
        errors.invalid(below("format"), quoted(logging.format), "Unsupported log format");
    if (logging.verbosity > kHighestVerbosity)
        errors.invalid(below("verbosity"), fmt::format("{}", logging.verbosity), at_most);
    if (!logging.vmodule.empty() && logging.format != "text")
        errors.forbidden(below("vmodule"), "Only supported for text log format");
    for (std::size_t i = 0; i < logging.vmodule.size(); ++i) {
        const auto& item = logging.vmodule[i];
        const auto at = fmt::format("{}.vmodule[{}]", path, i);
        if (item.file_pattern.empty()) errors.required(at, "File pattern must not be empty");
        if (item.file_pattern.find_first_of("=,") != std::string::npos)
            errors.invalid(at, quoted(item.file_pattern), "File pattern must not contain equal sign or comma");
        if (item.verbosity > kHighestVerbosity) errors.invalid(at, fmt::format("{}", item.verbosity), at_most);
    }
    const bool alpha = gate_enabled(gates, "LoggingAlphaOptions");
    validate_routing(logging.options.text, alpha, below("options.text"), errors);
    validate_routing(logging.options.json, alpha, below("options.json"), errors);
}

}  // namespace ghostip::agent::config
