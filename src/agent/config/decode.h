// The text of a configuration file -> KubeProxyConfiguration.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/config/configuration.h"
#include "base/result.h"

namespace ghostip::agent::config {

struct DecodedConfiguration {
    KubeProxyConfiguration configuration;  // with the defaults of v1alpha1
    // Fields that are unknown or stand there twice (the last one counts), a sentence each with file and line. A strict
    // reader would have refused the text; not an error, but somebody should hear of it.
    std::vector<std::string> lenient;
};

// YAML or JSON of kind KubeProxyConfiguration. An error names file, line, field and value, of every field that is
// wrong.
[[nodiscard]] Result<DecodedConfiguration> decode_configuration(std::string_view text, std::string_view file);

// The same from a file.
[[nodiscard]] Result<DecodedConfiguration> read_configuration(const std::string& path);

}  // namespace ghostip::agent::config
