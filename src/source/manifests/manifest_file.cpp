#include "source/manifests/manifest_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include <fmt/format.h>

#include "base/fd.h"

namespace ghostip::source {
namespace {

constexpr std::int64_t kNanoseconds = 1'000'000'000;
constexpr std::int64_t kSettlesAfter = kNanoseconds / 10;
// A writer that never rests must not keep us here; its last close brings the file up again.
constexpr int kReadAttempts = 3;

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * kNanoseconds + time.tv_nsec; }

// Reads on and hashes what goes by, so that a file that was only touched is known.
class HashingReader : public api::ByteReader {
  public:
    explicit HashingReader(Fd fd) : file_(std::move(fd)) {}

    Result<std::size_t> read(std::span<char> out) override {
        auto size = file_.read(out);
        if (size) add({out.data(), *size});
        if (!size) error_ = size.error();
        return size;
    }

    [[nodiscard]] int fd() const { return file_.fd(); }
    [[nodiscard]] std::uint64_t hash() const { return hash_ ^ total_; }
    [[nodiscard]] const Result<void>& error() const { return error_; }

  private:
    void add(std::string_view bytes) {
        total_ += bytes.size();
        for (; !bytes.empty(); bytes.remove_prefix(std::min<std::size_t>(8, bytes.size()))) {
            std::uint64_t word = 0;
            std::memcpy(&word, bytes.data(), std::min<std::size_t>(8, bytes.size()));
            hash_ = (hash_ ^ word) * 0xff51afd7ed558ccdU;
            hash_ ^= hash_ >> 32U;
        }
    }

    api::FileReader file_;
    std::uint64_t hash_ = 0x9e3779b97f4a7c15U;
    std::uint64_t total_ = 0;
    Result<void> error_;
};

class Collector : public api::DecodeSink {
  public:
    explicit Collector(ManifestContent& content) : content_(content) {}
    void object(api::Decoded decoded) override { content_.objects.push_back(std::move(decoded)); }
    void problem(api::Problem problem) override {
        if (problem.severity == api::Severity::kError) content_.clean = false;
        content_.problems.push_back(std::move(problem));
    }

  private:
    ManifestContent& content_;
};

// `unchanged`: nobody wrote to the file meanwhile.
Result<ManifestContent> read_once(const std::filesystem::path& path, bool& unchanged) {
    // Not to wait for the writer of a pipe that somebody put there.
    Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!fd) return fail_errno("open");
    struct stat before {};
    if (::fstat(fd.get(), &before) != 0) return fail_errno("stat");
    if (!S_ISREG(before.st_mode)) return fail("is not a regular file");

    HashingReader reader(std::move(fd));
    ManifestContent content;
    Collector collector(content);
    // Why it did not parse is among the problems.
    if (!api::decode(reader, format_of(path), path.native(), collector)) content.clean = false;
    RETURN_IF_ERROR(reader.error());
    content.hash = reader.hash();
    content.stamp = stamp_of(before);
    struct stat after {};
    if (::fstat(reader.fd(), &after) != 0) return fail_errno("stat");
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    unchanged = stamp_of(after) == content.stamp;
    content.settled = unchanged && nanoseconds(now) - content.stamp.modified_ns > kSettlesAfter;
    return content;
}

}  // namespace

bool is_manifest_name(std::string_view name) {
    if (name.starts_with('.') || name.starts_with('#')) return false;
    return name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json");
}

api::Format format_of(const std::filesystem::path& path) {
    return path.extension() == ".json" ? api::Format::kJson : api::Format::kYaml;
}

Result<std::vector<std::filesystem::path>> list_manifests(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> paths;
    std::error_code error;
    for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
        if (!is_manifest_name(at->path().filename().native())) continue;
        // A link that leads nowhere and a folder are passed over; what cannot be looked at is reported when it is read.
        std::error_code unknown;
        const auto type = std::filesystem::status(at->path(), unknown).type();
        if (type == std::filesystem::file_type::regular || type == std::filesystem::file_type::unknown ||
            type == std::filesystem::file_type::none)
            paths.push_back(at->path());
    }
    if (error) return errno_error(error.value(), fmt::format("read the folder {}", folder.native()));
    std::sort(paths.begin(), paths.end());
    return paths;
}

FileStamp stamp_of(const struct stat& status) {
    return {status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim)};
}

Result<ManifestContent> read_manifest(const std::filesystem::path& path) {
    for (int attempt = 1;; ++attempt) {
        bool unchanged = false;
        auto content = read_once(path, unchanged);
        if (!content || unchanged || attempt == kReadAttempts) return content;
    }
}

}  // namespace ghostip::source
