// Streams of a real API server (1.36), recorded outside of the repository, in both encodings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "api/stream_testing.h"

namespace ghostip::api {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using testing::Stream;

std::filesystem::path path_of(const std::string& name) {
    // CTest tells where they are; started by hand, they are looked for from the repository's folder.
    const char* told = std::getenv("GHOSTIP_RECORDINGS");
    return std::filesystem::path(told == nullptr ? "../shared/recordings/api" : told) / (name + ".body");
}

// Empty: not there.
std::string recording(const std::string& name) {
    std::ifstream file(path_of(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

#define NEEDS(variable, name)                     \
    const std::string variable = recording(name); \
    if ((variable).empty()) GTEST_SKIP() << "the recording " << path_of(name) << " is not there"

struct Case {
    std::string name;  // of the recording, without its encoding
    Kind kind;
    std::vector<std::string> expected;
    // Of a list, or of the bookmark behind the first events: as JSON and as protobuf, which were asked for in turn.
    std::array<const char*, 2> versions = {"", ""};
    bool cut_list = false;  // it is the first page of several
};

std::ostream& operator<<(std::ostream& out, const Case& test) { return out << test.name; }

bool is_list(const Case& test) { return test.name.find(".list") != std::string::npos; }

Stream read(const Case& test, Encoding encoding, const std::vector<std::string_view>& pieces) {
    return is_list(test) ? testing::read_list(encoding, test.kind, pieces)
                         : testing::read_watch(encoding, test.kind, pieces);
}

class Recorded : public ::testing::TestWithParam<Case> {};

TEST_P(Recorded, SaysTheSameInBothEncodings) {
    NEEDS(json, GetParam().name + ".json");
    NEEDS(protobuf, GetParam().name + ".pb");
    const Stream from_json = read(GetParam(), Encoding::kJson, {json});
    const Stream from_protobuf = read(GetParam(), Encoding::kProtobuf, {protobuf});
    for (const Stream* stream : {&from_json, &from_protobuf}) {
        EXPECT_TRUE(stream->end) << stream->end.error().message;
        EXPECT_THAT(stream->lines, IsEmpty());
        const std::string version = GetParam().versions[stream == &from_json ? 0 : 1];
        std::vector<std::string> expected = GetParam().expected;
        if (is_list(GetParam()))
            EXPECT_EQ(stream->meta.resource_version, version);
        else if (!version.empty())
            expected.push_back("BOOKMARK " + version + " end");
        EXPECT_EQ(testing::texts(*stream), expected);
        EXPECT_EQ(!stream->meta.continue_token.empty(), GetParam().cut_list);
    }
    for (std::size_t i = 0; i < GetParam().expected.size(); ++i)
        EXPECT_TRUE(testing::same(from_json.all.at(i), from_protobuf.all.at(i))) << GetParam().expected[i];
}

TEST_P(Recorded, IsTheSameInAnyTwoPieces) {
    for (const Encoding encoding : {Encoding::kJson, Encoding::kProtobuf}) {
        NEEDS(body, GetParam().name + (encoding == Encoding::kJson ? ".json" : ".pb"));
        const std::string_view bytes = body;
        const Stream whole = read(GetParam(), encoding, {bytes});
        for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
            const Stream pieces = read(GetParam(), encoding, {bytes.substr(0, cut), bytes.substr(cut)});
            ASSERT_TRUE(testing::same(pieces, whole)) << "cut behind byte " << cut;
        }
        std::vector<std::string_view> single;
        for (std::size_t i = 0; i < bytes.size(); ++i) single.push_back(bytes.substr(i, 1));
        ASSERT_TRUE(testing::same(read(GetParam(), encoding, single), whole));
    }
}

TEST_P(Recorded, IsAnErrorWhenItsEndIsMissing) {
    for (const Encoding encoding : {Encoding::kJson, Encoding::kProtobuf}) {
        NEEDS(body, GetParam().name + (encoding == Encoding::kJson ? ".json" : ".pb"));
        const Stream whole = read(GetParam(), encoding, {body});
        for (std::size_t size = 0; size < body.size(); ++size) {
            const Stream part = read(GetParam(), encoding, {std::string_view(body).substr(0, size)});
            ASSERT_LE(part.all.size(), whole.all.size());
            for (std::size_t i = 0; i < part.all.size(); ++i) ASSERT_TRUE(testing::same(part.all[i], whole.all[i]));
            if (!part.end) continue;
            // A watch may end between two events. Of a list, only what says nothing may be missing.
            if (is_list(GetParam())) {
                ASSERT_GE(size + 4, body.size());
                ASSERT_TRUE(testing::same(part, whole));
            }
        }
    }
}

// Lists, and the streams that begin with what is there, of one world.
struct World {
    const char* resource;
    Kind kind;
    std::array<const char*, 2> versions;
    std::vector<std::string> objects;
};

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const World& world : {
             World{"services", Kind::kService, {"11938", "11938"}, {"Service rec/a 11920", "Service rec/b 11926"}},
             World{"endpointslices",
                   Kind::kEndpointSlice,
                   {"11941", "11942"},
                   {"EndpointSlice rec/a 11929", "EndpointSlice rec/a-ppvwp 11921", "EndpointSlice rec/b 11930",
                    "EndpointSlice rec/b-s5kvh 11928"}},
             World{"nodes", Kind::kNode, {"11944", "11947"}, {"Node rec-a 11931", "Node rec-b 11932"}},
             World{"servicecidrs",
                   Kind::kServiceCidr,
                   {"11947", "11950"},
                   {"ServiceCIDR rec-a 11935", "ServiceCIDR rec-b 11938"}},
         }) {
        const std::string resource = world.resource;
        std::vector<std::string> added;
        for (const auto& object : world.objects) added.push_back("ADDED " + object);
        for (const char* list : {".list", ".list-rv0"})
            all.push_back({resource + list, world.kind, added, world.versions});
        all.push_back({resource + ".list-limit1", world.kind, {added.front()}, world.versions, true});
        all.push_back({resource + ".watch-rv0", world.kind, added});
        all.push_back({resource + ".watchlist", world.kind, added, world.versions});
        all.push_back({resource + ".watch-410", world.kind, {"ERROR 410 Expired"}});
    }
    all.push_back(
        {"services.list-continue-expired", Kind::kService, {"ADDED Service rec/b 11926"}, {"11981", "11981"}});
    all.push_back({"services.watch",
                   Kind::kService,
                   {"ADDED Service rec/x 11955", "MODIFIED Service rec/x 11958", "DELETED Service rec/x 11959",
                    "BOOKMARK 11959", "BOOKMARK 11959"}});
    all.push_back({"endpointslices.watch",
                   Kind::kEndpointSlice,
                   {"ADDED EndpointSlice rec/x 11962", "MODIFIED EndpointSlice rec/x 11963",
                    "DELETED EndpointSlice rec/x 11964", "BOOKMARK 11964"}});
    all.push_back(
        {"nodes.watch",
         Kind::kNode,
         {"ADDED Node rec-x 11968", "MODIFIED Node rec-x 11969", "DELETED Node rec-x 11970", "BOOKMARK 11970"}});
    Case cidrs{"servicecidrs.watch", Kind::kServiceCidr, {"ADDED ServiceCIDR rec-x 11974"}};
    for (int version = 11975; version <= 11980; ++version)
        cidrs.expected.push_back(fmt::format("MODIFIED ServiceCIDR rec-x {}", version));
    for (const char* last : {"DELETED ServiceCIDR rec-x 11981", "BOOKMARK 11981", "BOOKMARK 11981"})
        cidrs.expected.emplace_back(last);
    all.push_back(std::move(cidrs));
    return all;
}

std::string printed(std::string name) {
    std::replace_if(
        name.begin(), name.end(),
        [](char character) { return std::isalnum(static_cast<unsigned char>(character)) == 0; }, '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Api, Recorded, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return printed(test.param.name); });

struct StatusCase {
    std::string name;
    Status expected;  // its message: the beginning
};

std::ostream& operator<<(std::ostream& out, const StatusCase& test) { return out << test.name; }

class RecordedStatus : public ::testing::TestWithParam<StatusCase> {};

TEST_P(RecordedStatus, IsReadAndIsNoList) {
    for (const Encoding encoding : {Encoding::kJson, Encoding::kProtobuf}) {
        NEEDS(body, GetParam().name + (encoding == Encoding::kJson ? ".json" : ".pb"));
        const auto status = decode_status(encoding, body);
        ASSERT_TRUE(status) << status.error().message;
        const Status& expected = GetParam().expected;
        EXPECT_THAT(status->message, StartsWith(expected.message));
        EXPECT_EQ(status->code, expected.code);
        EXPECT_EQ(status->reason, expected.reason);
        EXPECT_EQ(status->retry_after_seconds, expected.retry_after_seconds);
        EXPECT_EQ(status->resource_version_too_large, expected.resource_version_too_large);

        const Stream list = testing::read_list(encoding, Kind::kService, {body});
        ASSERT_FALSE(list.end);
        EXPECT_THAT(list.end.error().message, HasSubstr("the answer is no list: " + std::to_string(expected.code) +
                                                        " " + expected.reason + ": " + expected.message));
        EXPECT_THAT(list.all, IsEmpty());
        for (std::size_t size = 0; size < body.size(); ++size)
            static_cast<void>(decode_status(encoding, std::string_view(body).substr(0, size)));
    }
}

INSTANTIATE_TEST_SUITE_P(
    Api, RecordedStatus,
    ::testing::Values(
        StatusCase{"services.list-future-rv",
                   {504, "Timeout", "Timeout: Too large resource version: 99999999", 1, true}},
        StatusCase{"services.list-exact-expired", {410, "Expired", "The resourceVersion for the provided list"}},
        StatusCase{"services.get-404", {404, "NotFound", "services "}},
        StatusCase{"nodes.get-404", {404, "NotFound", "nodes "}},
        StatusCase{"watch-bad-selector", {400, "BadRequest", "field label not supported: spec.foo"}},
        StatusCase{"services.watch-sendInitialEvents-without-match", {422, "Invalid", "ListOptions.meta.k8s.io"}}),
    [](const auto& test) { return printed(test.param.name); });

TEST(RecordedOthers, AreNoListOfServices) {
    for (const char* name : {"services.list.table.json", "services.list.partialmeta.json", "services.get.json",
                             "nodes.list.json", "version", "healthz", "openapi-v3-index"}) {
        NEEDS(body, name);
        const Stream list = testing::read_list(Encoding::kJson, Kind::kService, {body});
        EXPECT_FALSE(list.end) << name;
        EXPECT_FALSE(testing::read_list(Encoding::kProtobuf, Kind::kService, {body}).end) << name;
        EXPECT_FALSE(decode_status(Encoding::kJson, body)) << name;
    }
    for (const char* name : {"services.get.pb", "nodes.list.pb"}) {
        NEEDS(body, name);
        const Stream list = testing::read_list(Encoding::kProtobuf, Kind::kService, {body});
        EXPECT_FALSE(list.end) << name;
        EXPECT_THAT(list.all, IsEmpty()) << name;
        EXPECT_FALSE(decode_status(Encoding::kProtobuf, body)) << name;
    }
}

}  // namespace
}  // namespace ghostip::api
