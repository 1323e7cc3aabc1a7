// What a real API server (1.36) answered, recorded outside of the repository, through a reflector in both encodings.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "source/kubernetes/reflector_testing.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using testing::kJson;
using testing::Scene;
using testing::status;

struct Case {
    const char* name;
    Resource resource;
    const char* encoding;
    const char* content_type;

    friend std::ostream& operator<<(std::ostream& out, const Case& test) { return out << test.name; }
};

class Recorded : public ::testing::TestWithParam<Case> {
  protected:
    void SetUp() override {
        const char* told = std::getenv("GHOSTIP_RECORDINGS");
        folder_ = told == nullptr ? "../shared/recordings/api" : told;
        if (!std::filesystem::exists(folder_)) GTEST_SKIP() << "the recordings " << folder_ << " are not there";
    }
    [[nodiscard]] std::string body(const std::string& what) const {
        const auto path = folder_ / (GetParam().resource.name + "." + what + "." + GetParam().encoding + ".body");
        std::ifstream file(path, std::ios::binary);
        std::string bytes{std::istreambuf_iterator<char>(file), {}};
        EXPECT_FALSE(bytes.empty()) << path;
        return bytes;
    }
    [[nodiscard]] std::string stream_type() const { return std::string(GetParam().content_type) + ";stream=watch"; }

  private:
    std::filesystem::path folder_;
};

TEST_P(Recorded, AStreamAndAListGiveTheSame) {
    Scene streamed({}, GetParam().resource);
    streamed.reflector.start();
    streamed.head(200, stream_type());
    // In pieces that nobody would choose.
    const std::string stream = body("watchlist");
    for (std::size_t i = 0; i < stream.size(); i += 7) streamed.body(stream.substr(i, 7));
    streamed.run();
    EXPECT_EQ(streamed.folded.syncs, 1);
    EXPECT_EQ(streamed.folded.deliveries, 1);

    Scene listed({}, GetParam().resource);
    listed.reflector.start();
    listed.answer(422, status(422, "Invalid"));
    listed.answer(200, body("list"), GetParam().content_type);
    EXPECT_EQ(listed.folded.syncs, 1);

    EXPECT_FALSE(streamed.folded.objects.empty());
    ASSERT_EQ(streamed.folded.names(), listed.folded.names());
    for (const auto& [key, object] : streamed.folded.objects)
        EXPECT_TRUE(api::same_content(object, listed.folded.objects.at(key))) << key.text();
    EXPECT_EQ(streamed.reflector.stats().decode_failures + listed.reflector.stats().decode_failures, 0U);
}

TEST_P(Recorded, AWatchIsFollowed) {
    Scene scene({}, GetParam().resource);
    scene.reflector.start();
    scene.answer(422, status(422, "Invalid"));
    scene.answer(200, body("list-rv0"), GetParam().content_type);
    ASSERT_TRUE(scene.asks("watch=true")) << scene.target();
    const std::string events = body("watch");
    scene.head(200, stream_type());
    scene.send(events);
    EXPECT_GT(scene.reflector.stats().events, 0U);
    EXPECT_EQ(scene.folded.said("makes no sense"), 0);
}

TEST_P(Recorded, AnExpiredVersionIsRecognised) {
    Scene scene({}, GetParam().resource);
    scene.reflector.start();
    scene.answer(422, status(422, "Invalid"));
    scene.answer(200, body("list"), GetParam().content_type);
    const auto names = scene.folded.names();
    scene.head(200, stream_type());
    scene.send(body("watch-410"));
    EXPECT_EQ(scene.folded.said("410 Expired: too old resource version"), 1)
        << ::testing::PrintToString(scene.folded.lines);
    EXPECT_EQ(scene.folded.names(), names);
    scene.pass(3s);
    EXPECT_TRUE(scene.asks("sendInitialEvents")) << scene.target();
}

std::vector<Case> cases() {
    std::vector<Case> cases;
    const Resource all[] = {services(), endpoint_slices(), own_node("kp-node"), service_cidrs()};  // NOLINT
    for (const auto& resource : all) {
        cases.push_back({"Json", resource, "json", kJson});
        cases.push_back({"Protobuf", resource, "pb", "application/vnd.kubernetes.protobuf"});
    }
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Reflector, Recorded, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.resource.name + test.param.name; });

}  // namespace
}  // namespace ghostip::source::kubernetes
