// For tests: a temporary folder with manifests in it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace ghostip::source::testing {

class TemporaryFolder {
  public:
    TemporaryFolder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "ghostip-manifests-XXXXXX").native();
        path_ = ::mkdtemp(pattern.data());
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    void write(const std::filesystem::path& name, std::string_view text) const {
        std::ofstream(path_ / name, std::ios::binary) << text;
    }
    // Under another name first, as careful programs do.
    void replace(const std::filesystem::path& name, std::string_view text) const {
        write(".replacement", text);
        std::filesystem::rename(path_ / ".replacement", path_ / name);
    }
    void remove(const std::filesystem::path& name) const { std::filesystem::remove(path_ / name); }

  private:
    std::filesystem::path path_;
};

inline std::string service(std::string_view name, std::string_view port = "80", std::string_view labels = "") {
    return fmt::format(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {}, labels: {{{}}}}}\nspec: {{ports: [{{port: {}}}]}}\n",
        name, labels, port);
}

inline std::string slice(std::string_view name, std::string_view labels = "") {
    return fmt::format(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {}, labels: "
        "{{{}}}}}\naddressType: IPv4\n",
        name, labels);
}

}  // namespace ghostip::source::testing
