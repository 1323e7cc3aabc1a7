// Manifest files: which there are, whether one has changed, and what stands in it. Keeps nothing.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "api/decode.h"
#include "base/result.h"

struct stat;

namespace ghostip::source {

// Whether a file of this name in a manifest folder is a manifest: `.yaml`, `.yml` or `.json`, and neither hidden nor
// what an editor leaves beside the file that it edits (`.#x`, `#x#`, `x~`, `x.swp`, `x.tmp`, `4913`).
[[nodiscard]] bool is_manifest_name(std::string_view name);

// `.json` is JSON; everything else is YAML, of which JSON is nearly a part.
[[nodiscard]] api::Format format_of(const std::filesystem::path& path);

// The manifests of a folder (not of folders in it), sorted. Symbolic links are followed, as in a mounted ConfigMap.
[[nodiscard]] Result<std::vector<std::filesystem::path>> list_manifests(const std::filesystem::path& folder);

// What stat(2) says of a file's content.
struct FileStamp {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    std::int64_t modified_ns = 0;

    friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

[[nodiscard]] FileStamp stamp_of(const struct stat& status);

struct ManifestContent {
    FileStamp stamp;
    // Whether an equal stamp means equal bytes. Not if the file was written while it was read, or so shortly before
    // that a later write may bear the same time (the kernel's clock for files ticks every 1-10 ms).
    bool settled = false;
    std::uint64_t hash = 0;              // of the bytes
    std::vector<api::Decoded> objects;   // good ones, in the order of the file
    std::vector<api::Problem> problems;  // in the order of the file
    bool clean = true;                   // no problem is an error
};

// An error if the file cannot be opened or read; what is wrong inside of it is among the problems.
[[nodiscard]] Result<ManifestContent> read_manifest(const std::filesystem::path& path);

}  // namespace ghostip::source
