#include "api/stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include <rapidcheck/gtest.h>

#include "api/codec/json_stream.h"
#include "api/codec/protobuf_stream.h"
#include "api/stream_testing.h"

namespace ghostip::api {
namespace {

using ::testing::ElementsAre;
using testing::envelope;
using testing::event;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Message;
using testing::metadata;
using testing::Stream;

constexpr std::array kEncodings{Encoding::kJson, Encoding::kProtobuf};

Stream json_watch(std::string_view text) { return testing::read_watch(Encoding::kJson, Kind::kService, {text}); }
Stream json_list(std::string_view text) { return testing::read_list(Encoding::kJson, Kind::kService, {text}); }
Stream protobuf_watch(std::string_view bytes) {
    return testing::read_watch(Encoding::kProtobuf, Kind::kService, {bytes});
}
Stream protobuf_list(std::string_view bytes) {
    return testing::read_list(Encoding::kProtobuf, Kind::kService, {bytes});
}

std::string error(const Stream& stream) { return stream.end ? "none" : stream.end.error().message; }

TEST(EncodingOf, KnowsTheTypesAndTheirParameters) {
    EXPECT_EQ(encoding_of("application/json"), Encoding::kJson);
    EXPECT_EQ(encoding_of("application/json; charset=utf-8"), Encoding::kJson);
    EXPECT_EQ(encoding_of(" Application/JSON ;stream=watch"), Encoding::kJson);
    EXPECT_EQ(encoding_of("application/vnd.kubernetes.protobuf"), Encoding::kProtobuf);
    EXPECT_EQ(encoding_of("application/vnd.kubernetes.protobuf;stream=watch"), Encoding::kProtobuf);
    for (const char* other : {"", ";", "text/html", "application/yaml", "application/json2", "application/cbor"})
        EXPECT_EQ(encoding_of(other), std::nullopt) << other;
}

TEST(JsonWatch, NeedsNoLinesAndNoOrder) {
    const auto got = json_watch(
        R"({"object":{"metadata":{"resourceVersion":"5","name":"a","namespace":"x"},"kind":"Service","apiVersion":"v1"},"type":"ADDED"})"
        R"({"type":"DELETED","object":{"kind":"Service","apiVersion":"v1","metadata":{"name":"a","namespace":"x","resourceVersion":"6"}}}  )"
        "\r\n\t"
        R"({"type":"BOOKMARK","object":{"kind":"Service","apiVersion":"v1","metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"false"}}}})");
    EXPECT_EQ(error(got), "none");
    EXPECT_THAT(got.lines, IsEmpty());
    EXPECT_THAT(testing::texts(got), ElementsAre("ADDED Service x/a 5", "DELETED Service x/a 6", "BOOKMARK 7"));
}

TEST(Watch, ObjectsOfAnotherKindArePassedOver) {
    const std::string line = "Node n: kind: \"Node\": must be Service, for that was asked for; passed over";
    const auto json = json_watch(
        R"({"type":"ADDED","object":{"kind":"Node","apiVersion":"v1","metadata":{"name":"n"}}})"
        R"({"type":"BOOKMARK","object":{"kind":"Node","apiVersion":"v1","metadata":{"name":"n","resourceVersion":"5"}}})"
        R"({"type":"BOOKMARK","object":{"kind":"Service","apiVersion":"v1","metadata":{"resourceVersion":"6"}}})");
    const auto node = envelope("v1", "Node", Message().message(1, metadata("n", "", "5")));
    const auto protobuf =
        protobuf_watch(event("ADDED", node) + event("BOOKMARK", node) +
                       event("BOOKMARK", envelope("v1", "Service", Message().message(1, metadata("", "", "6")))));
    for (const auto* got : {&json, &protobuf}) {
        EXPECT_EQ(error(*got), "none");
        EXPECT_THAT(got->lines, ElementsAre(line, line));
        EXPECT_THAT(testing::texts(*got), ElementsAre("BOOKMARK 6"));
    }
}

TEST(Watch, ObjectsOfAnotherVersionAreNamed) {
    const auto got =
        json_watch(R"({"type":"ADDED","object":{"kind":"Service","apiVersion":"v2","metadata":{"name":"a"}}})");
    EXPECT_THAT(got.lines, ElementsAre("Service default/a: apiVersion: \"v2\": must be \"v1\" for a Service"));
    EXPECT_THAT(testing::texts(got), ElementsAre("ADDED Service default/a  undecoded"));
}

TEST(Watch, ErrorsWithoutAStatusAreErrors) {
    const auto json = json_watch(R"({"type":"ERROR","object":{"kind":"Service","apiVersion":"v1"}})"
                                 R"({"type":"ERROR","object":5})");
    const auto protobuf = protobuf_watch(event("ERROR", envelope("v1", "Service", Message())) + event("ERROR", "?"));
    for (const auto* got : {&json, &protobuf}) {
        EXPECT_EQ(error(*got), "none");
        EXPECT_THAT(testing::texts(*got), ElementsAre("ERROR 500 InternalError", "ERROR 500 InternalError"));
    }
}

TEST(JsonWatch, AnObjectThatIsRefusedIsNamed) {
    const auto got = json_watch(
        R"({"type":"MODIFIED","object":{"kind":"Service","apiVersion":"v1","metadata":{"name":"a","namespace":"x"},"spec":{"type":"ClusterIP","type":"NodePort"}}})"
        R"({"type":"MODIFIED","object":{"kind":"Service","apiVersion":"v1","metadata":{"name":"b","namespace":"x"},"spec":{"ports":[{"port":0}]}}})"
        R"({"type":"MODIFIED","object":null})");
    EXPECT_EQ(error(got), "none");
    EXPECT_THAT(got.lines, ElementsAre("Service x/a: the key \"type\" is there twice in one mapping",
                                       "Service x/b: spec.ports[0].port: 0: must be a number from 1 to 65535",
                                       "null: must be a mapping with apiVersion, kind and metadata"));
    EXPECT_THAT(testing::texts(got), ElementsAre("MODIFIED Service x/a  undecoded", "MODIFIED Service x/b  undecoded",
                                                 "MODIFIED Service   undecoded"));
}

struct Broken {
    const char* name;
    Stream (*read)(std::string_view);
    std::string bytes;
    std::string error;  // a part of it
};

std::ostream& operator<<(std::ostream& out, const Broken& test) { return out << test.name; }

class BrokenStream : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenStream, IsAnError) {
    const auto got = GetParam().read(GetParam().bytes);
    EXPECT_THAT(error(got), HasSubstr(GetParam().error));
    EXPECT_THAT(got.lines, IsEmpty());
}

std::string list_of(const Message& list) { return envelope("v1", "ServiceList", list); }

INSTANTIATE_TEST_SUITE_P(
    Streams, BrokenStream,
    ::testing::Values(
        Broken{"JsonWatchHtml", json_watch, "<html>", "an event is expected before \"<html>\""},
        Broken{"JsonWatchSyntax", json_watch, R"({"type" "ADDED"})",
               "an event is not valid JSON: a : is expected here"},
        Broken{"JsonWatchType", json_watch, R"({"type":"CHANGED","object":{}})", "of the type \"CHANGED\""},
        Broken{"JsonWatchNoType", json_watch, R"({"object":{}})", "of the type \"\""},
        Broken{"JsonWatchNoObject", json_watch, R"({"type":"ADDED"})", "an event of the type ADDED has no object"},
        Broken{"JsonWatchComma", json_watch, R"({"type":"ERROR","object":{}},)", "an event is expected before"},
        Broken{"JsonWatchEnd", json_watch, R"({"type":"ADDED","object":{)", "ends inside of an event, after 26 bytes"},
        Broken{"JsonListEmpty", json_list, " ", "the answer is empty, but a ServiceList was asked for"},
        Broken{"JsonListHtml", json_list, "<html>", "{ is expected before \"<html>\""},
        Broken{"JsonListOther", json_list, R"({"kind":"NodeList","apiVersion":"v1","items":[]})",
               "the answer is a NodeList of \"v1\", but a ServiceList of \"v1\" was asked for"},
        Broken{"JsonListVersion", json_list, R"({"kind":"ServiceList","apiVersion":"v2","items":[]})",
               "a ServiceList of \"v2\""},
        Broken{"JsonListNoKind", json_list, R"({"apiVersion":"v1","items":[]})", "a thing without a kind"},
        Broken{"JsonListItems", json_list, R"({"kind":"ServiceList","apiVersion":"v1","items":{}})",
               "items: must be a list"},
        Broken{"JsonListHiddenItems", json_list, R"({"kind":"ServiceList","apiVersion":"v1","item\u0073":[1]})",
               "items: must be a list"},
        Broken{"JsonListItemsTwice", json_list, R"({"kind":"ServiceList","apiVersion":"v1","items":[],"items":[]})",
               "the key \"items\" is there twice"},
        Broken{"JsonListItemSyntax", json_list, R"({"items":[{]})", "an item is not valid JSON"},
        Broken{"JsonListItemBrackets", json_list, R"({"items":[{"a":[}]]})", "an item is not valid JSON"},
        Broken{"JsonListComma", json_list, R"({"kind":"ServiceList","apiVersion":"v1","items":[],})",
               "a key in quotes is expected"},
        Broken{"JsonListEmptyValue", json_list, R"({"kind":,"apiVersion":"v1"})", "a value is expected before \",\""},
        Broken{"JsonListBehind", json_list, R"({"kind":"ServiceList","apiVersion":"v1","items":[]}{)",
               "the end is expected"},
        Broken{"ProtobufWatchLength", protobuf_watch, std::string("\x01\0\0\x01", 4),
               "claims to have 16777217 bytes, more than 16 MiB"},
        Broken{"ProtobufWatchText", protobuf_watch, "<html>", "claims to have"},
        Broken{"ProtobufWatchGarbage", protobuf_watch, testing::frame("\x0a\x7f"), "an event is not valid protobuf"},
        Broken{"ProtobufWatchEmpty", protobuf_watch, testing::frame(""), "of the type \"\""},
        Broken{"ProtobufWatchType", protobuf_watch, event("CHANGED", ""), "of the type \"CHANGED\""},
        Broken{"ProtobufWatchEnd", protobuf_watch, event("ERROR", "").substr(0, 9), "ends inside of an event"},
        Broken{"ProtobufListEmpty", protobuf_list, "", "the answer is empty"},
        Broken{"ProtobufListText", protobuf_list, "kilo", "does not begin with the bytes k8s\\x00, but with \"kilo\""},
        Broken{"ProtobufListPrefix", protobuf_list, std::string("k8s\0", 4), "has no ServiceList in it"},
        Broken{"ProtobufListNoType", protobuf_list, std::string("k8s\0", 4) + Message().message(2, Message()).bytes(),
               "a thing without a kind"},
        Broken{"ProtobufListOther", protobuf_list, envelope("v1", "NodeList", Message().message(2, Message())),
               "the answer is a NodeList"},
        Broken{"ProtobufListTypeLate", protobuf_list,
               std::string("k8s\0", 4) +
                   Message().message(2, Message()).message(1, Message().text(1, "v1").text(2, "NodeList")).bytes(),
               "the answer is a NodeList"},
        Broken{"ProtobufListTwice", protobuf_list,
               std::string("k8s\0", 4) + Message()
                                             .message(1, Message().text(1, "v1").text(2, "ServiceList"))
                                             .message(2, Message())
                                             .message(2, Message())
                                             .bytes(),
               "two lists"},
        Broken{"ProtobufListEncoding", protobuf_list, list_of(Message()) + Message().text(3, "gzip").bytes(),
               "contentEncoding: \"gzip\": is not known"},
        Broken{"ProtobufListItemNumber", protobuf_list, list_of(Message().number(2, 5)), "field 2 is not of the type"},
        Broken{"ProtobufListItemTooLong", protobuf_list,
               std::string("k8s\0", 4) +
                   Message().message(1, Message().text(1, "v1").text(2, "ServiceList")).text(2, "\x12\x7f").bytes(),
               "is longer than what is around it"},
        Broken{"JsonListEndsInItem", json_list, R"({"items":[{"a":1)", "the ServiceList ends before it is whole"},
        Broken{"ProtobufListHugeItem", protobuf_list,
               std::string("k8s\0\x12\xff\xff\xff\xff\xff\x01\x12\xff\xff\xff\x7f", 16), "more than 16 MiB"},
        Broken{"ProtobufListEndlessNumber", protobuf_list, std::string("k8s\0", 4) + std::string(12, '\xff'),
               "is not valid protobuf"},
        Broken{"ProtobufListMeta", protobuf_list, list_of(Message().message(1, Message().number(2, 5))),
               "ServiceList: metadata: resourceVersion is not of the type"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Streams, NothingIsFedBehindAnError) {
    Stream stream;
    const auto decoder = WatchDecoder::create(Encoding::kJson, Kind::kService, stream);
    const auto first = decoder->feed("?");
    ASSERT_FALSE(first);
    const auto second = decoder->feed(
        R"({"type":"BOOKMARK","object":{"kind":"Service","apiVersion":"v1","metadata":{"resourceVersion":"6"}}})");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().message, first.error().message);
    EXPECT_FALSE(decoder->finish());
    EXPECT_THAT(stream.all, IsEmpty());
}

TEST(JsonList, MembersComeInAnyOrder) {
    const auto got = json_list(
        R"( {"items" : [ {"metadata":{"name":"a","namespace":"x","resourceVersion":"5"}} , {"metadata":{"name":"b","namespace":"x"},"kind":"Service","apiVersion":"v1"}, {"kind":"Node"} ],"more":[{"items":[1]}],)"
        R"("metadata":{"continue":"c\u006f","resourceVersion":"9"},"apiVersion":"v1","kind":"ServiceList"} )");
    EXPECT_EQ(error(got), "none");
    EXPECT_THAT(testing::texts(got), ElementsAre("ADDED Service x/a 5", "ADDED Service x/b "));
    EXPECT_THAT(got.lines, ElementsAre("Node: kind: \"Node\": must be Service, for that was asked for; passed over"));
    EXPECT_EQ(got.meta.resource_version, "9");
    EXPECT_EQ(got.meta.continue_token, "co");
}

TEST(List, MayHaveNoItems) {
    for (const char* items : {"", R"("items":null,)", R"("items":[],)", R"("items":[ ],)"}) {
        const auto got = json_list(
            fmt::format(R"({{"kind":"ServiceList",{}"apiVersion":"v1","metadata":{{"resourceVersion":"9"}}}})", items));
        EXPECT_EQ(error(got), "none") << items;
        EXPECT_EQ(got.meta.resource_version, "9");
        EXPECT_THAT(got.all, IsEmpty());
    }
    const auto got = protobuf_list(list_of(Message().message(1, Message().text(2, "9").text(3, "c"))));
    EXPECT_EQ(error(got), "none");
    EXPECT_EQ(got.meta.resource_version, "9");
    EXPECT_EQ(got.meta.continue_token, "c");
}

TEST(ProtobufList, IsReadInAnyOrderAroundUnknownFields) {
    const Message list = Message()
                             .text(9, std::string(100'000, 'x'))
                             .message(2, Message().message(1, metadata("a", "x", "5")))
                             .number(8, -1)
                             .message(1, Message().text(2, "9"));
    const auto got =
        protobuf_list(std::string("k8s\0", 4) + Message()
                                                    .number(7, 5)
                                                    .text(8, std::string(100'000, 'x'))
                                                    .message(2, list)
                                                    .message(1, Message().text(2, "ServiceList").text(1, "v1"))
                                                    .bytes());
    EXPECT_EQ(error(got), "none");
    EXPECT_THAT(testing::texts(got), ElementsAre("ADDED Service x/a 5"));
    EXPECT_EQ(got.meta.resource_version, "9");
}

TEST(DecodeStatus, ReadsWhatAClientActsOn) {
    const auto status = [](std::string_view body) { return decode_status(Encoding::kJson, body); };
    const auto success = status(R"({"kind":"Status","apiVersion":"v1","status":"Success","code":200})");
    ASSERT_TRUE(success);
    EXPECT_EQ(success->code, 200);
    const auto old = status(
        R"({"kind":"Status","apiVersion":"v1","reason":"Timeout","code":504,"details":{"causes":[{"message":"Too large resource version"}]}})");
    ASSERT_TRUE(old);
    EXPECT_TRUE(old->resource_version_too_large);
    const auto elsewhere = status(
        R"({"kind":"Status","apiVersion":"v1","reason":"BadRequest","message":"Too large resource version","code":"x"})");
    ASSERT_TRUE(elsewhere);
    EXPECT_FALSE(elsewhere->resource_version_too_large);
    EXPECT_EQ(elsewhere->code, 0);
    for (const char* other : {"", "{}", "[]", "404 page not found", R"({"kind":"Status"})", R"({"kind":"Pod"})", "{"})
        EXPECT_FALSE(status(other)) << other;
    for (const std::string& other :
         {std::string(), std::string("k8s\0", 4), std::string("k8s\0\x0a\x7f", 6), envelope("v1", "Pod", Message()),
          envelope("v1", "Status", Message().number(3, 1))})
        EXPECT_FALSE(decode_status(Encoding::kProtobuf, other)) << other;
}

template <typename List>
void expect_one_item_held(Encoding encoding) {
    constexpr int kItems = 20'000;
    class Count : public StreamSink {
      public:
        void received(Received received) override { good += received.object ? 1 : 0; }
        void problem(Problem problem) override { ADD_FAILURE() << problem.text(); }
        int good = 0;
    };
    const std::string body = testing::slice_list(encoding, kItems);
    for (const std::size_t piece : {body.size(), std::size_t{16384}, std::size_t{1000}}) {
        Count count;
        List list(Kind::kEndpointSlice, count);
        std::size_t most = 0;
        for (std::size_t at = 0; at < body.size(); at += piece) {
            ASSERT_TRUE(list.feed(std::string_view(body).substr(at, piece)));
            most = std::max(most, list.held_bytes());
        }
        ASSERT_TRUE(list.finish());
        EXPECT_EQ(count.good, kItems);
        EXPECT_LT(most, std::size_t{200} << 10U) << "of " << body.size();
    }
}

TEST(JsonList, HoldsOneItem) { expect_one_item_held<codec::JsonList>(Encoding::kJson); }
TEST(ProtobufList, HoldsOneItem) { expect_one_item_held<codec::ProtobufList>(Encoding::kProtobuf); }

TEST(Streams, ALargeObjectInSmallPiecesIsReadOnce) {
    // Looking at all that has come with each piece would take minutes.
    constexpr std::size_t kSize = std::size_t{8} << 20U;
    const std::string note(kSize, 'x');
    for (const Encoding encoding : kEncodings) {
        const std::string body =
            encoding == Encoding::kProtobuf
                ? event("ADDED",
                        envelope("v1", "Service", Message().message(1, metadata("a", "x", "5").entry(12, "n", note))))
                : fmt::format(
                      R"({{"type":"ADDED","object":{{"kind":"Service","apiVersion":"v1","metadata":{{"name":"a","namespace":"x","resourceVersion":"5","annotations":{{"n":"{}"}}}}}}}})",
                      note);
        std::vector<std::string_view> pieces;
        for (std::size_t at = 0; at < body.size(); at += 16) pieces.push_back(std::string_view(body).substr(at, 16));
        EXPECT_THAT(testing::texts(testing::read_watch(encoding, Kind::kService, pieces)),
                    ElementsAre("ADDED Service x/a 5"));
    }
}

TEST(Streams, AnObjectAboveTheLimitIsAnError) {
    const std::string note(std::size_t{17} << 20U, 'x');
    EXPECT_THAT(error(json_watch(R"({"type":")" + note)), HasSubstr("more than 16 MiB"));
    EXPECT_THAT(error(json_list(R"({"items":[{"a":")" + note)), HasSubstr("more than 16 MiB"));
    EXPECT_THAT(error(json_list(R"({"a":")" + note)), HasSubstr("more than 16 MiB"));
    EXPECT_THAT(error(protobuf_watch(event("ADDED", note))), HasSubstr("more than 16 MiB"));
    EXPECT_THAT(error(protobuf_list(list_of(Message().text(2, note)))), HasSubstr("more than 16 MiB"));
}

// Of the sizes drawn, over and over.
std::vector<std::string_view> random_pieces(std::string_view bytes) {
    const auto sizes =
        *rc::gen::nonEmpty(rc::gen::container<std::vector<std::size_t>>(rc::gen::weightedOneOf<std::size_t>(
            {{3, rc::gen::inRange<std::size_t>(0, 8)}, {1, rc::gen::inRange<std::size_t>(0, 2000)}})));
    std::vector<std::string_view> pieces;
    for (std::size_t i = 0; !bytes.empty(); ++i) {
        // Sizes may all be zero; one that is not ends each round.
        const std::size_t drawn = i % (sizes.size() + 1) == sizes.size() ? 5 : sizes[i % (sizes.size() + 1)];
        pieces.push_back(bytes.substr(0, drawn));
        bytes.remove_prefix(pieces.back().size());
    }
    return pieces;
}

RC_GTEST_PROP(Streams, ListsAreTheSameInAnyPieces, ()) {
    const int count = *rc::gen::inRange(0, 12);
    std::vector<Stream> wholes;
    for (const Encoding encoding : kEncodings) {
        const std::string body = testing::slice_list(encoding, count);
        wholes.push_back(testing::read_list(encoding, Kind::kEndpointSlice, {body}));
        RC_ASSERT(wholes.back().all.size() == static_cast<std::size_t>(count));
        RC_ASSERT(
            testing::same(testing::read_list(encoding, Kind::kEndpointSlice, random_pieces(body)), wholes.back()));
    }
    RC_ASSERT(testing::same(wholes[0], wholes[1]));
}

RC_GTEST_PROP(Streams, WatchesAreTheSameInAnyPieces, ()) {
    const int count = *rc::gen::inRange(0, 12);
    std::vector<Stream> wholes;
    for (const Encoding encoding : kEncodings) {
        std::string body;
        for (int i = 0; i < count; ++i) {
            if (encoding == Encoding::kProtobuf)
                body += event("MODIFIED", envelope("discovery.k8s.io/v1", "EndpointSlice", testing::slice_message(i)));
            else
                body += R"({"type":"MODIFIED","object":{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1",)" +
                        testing::slice_json(i).substr(1) + "}";
        }
        wholes.push_back(testing::read_watch(encoding, Kind::kEndpointSlice, {body}));
        RC_ASSERT(wholes.back().all.size() == static_cast<std::size_t>(count));
        RC_ASSERT(
            testing::same(testing::read_watch(encoding, Kind::kEndpointSlice, random_pieces(body)), wholes.back()));
    }
    RC_ASSERT(testing::same(wholes[0], wholes[1]));
}

}  // namespace
}  // namespace ghostip::api
