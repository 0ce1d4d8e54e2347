/* The SDK itself: what is JSON and what is not, with every cut and many changes of it, under a checker of memory errors. */
#include "portcullis_testing.h"

void portcullis_configure(const pc_value *settings, pc_problems *problems) { pc_expect(settings, PC_OBJECT, PC_TEXT(""), problems); }

const char *portcullis_evaluate(const pc_call *call, pc_decision *decision) { return NULL; }

static bool parses(const char *json) {
    pc_value value;
    return pc_parse(pc_words(json), &value);
}

static bool reads(const char *json, const char *text) {
    pc_value value;
    return pc_parse(pc_words(json), &value) && value.type == PC_STRING && pc_is(value.text, text);
}

/* A copy in a block of just its size, so that a byte read beyond it is found out. */
static void try_bytes(const uint8_t *bytes, size_t length) {
    uint8_t *copy = malloc(length == 0 ? 1 : length);
    memcpy(copy, bytes, length);
    pc_value value;
    pc_parse((pc_text){copy, length}, &value);
    free(copy);
}

int main(void) {
    const char *good[] = {"null", " true ", "false", "0", "-0", "1.5e-3", "-12E+4", "\"\"", "[]", "[1,[2],{}]", "{\"a\":{\"b\":[null]}}", "{\"a\":1,\"a\":2}"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) CHECK(parses(good[i]));
    const char *bad[] = {"", " ", "nul", "01", "-", "1.", "1e", ".5", "+1", "\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"",
                         "\"\n\"", "[", "[1", "[1,", "[1,]", "{", "{\"a\"", "{\"a\":", "{\"a\":1,}", "{a:1}", "1 2", "[1}", "'a'"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(!parses(bad[i]));
    CHECK(reads("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00z\"", "a\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"));
    CHECK(reads("\"plain\"", "plain"));

    char deep[200];
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    pc_value value;
    CHECK(!pc_parse((pc_text){(uint8_t *)deep, 200}, &value));
    CHECK(pc_parse((pc_text){(uint8_t *)deep + 40, 120}, &value));

    /* Every cut, and each byte changed to some that matter. */
    const char *whole = "{\"na\\u00e9me\":[\"a\\\"b\",-1.5e+7,true,null,{\"x\":\"\\ud83d\\ude00\"}],\"m\":{}}";
    size_t length = strlen(whole);
    CHECK(parses(whole));
    uint8_t changed[128];
    for (size_t i = 0; i <= length; i++) {
        try_bytes((const uint8_t *)whole, i);
        for (const char *byte = "\"\\{}[],:u0e-\n\xff"; *byte != '\0' && i < length; byte++) {
            memcpy(changed, whole, length);
            changed[i] = (uint8_t)*byte;
            try_bytes(changed, length);
        }
    }

    pc_problems problems = test_configure("[]");
    CHECK(problems.sentences.len == 1 && pc_is(problems.sentences.ptr[0], "settings: `.` is no object"));
    for (unsigned i = 0; i < 60; i++) pc_at(&problems, pc_print("a[%u].%s", i, "b"), "is wrong");
    CHECK(problems.sentences.len == 50 && problems.further == 11);
    CHECK(pc_is(problems.sentences.ptr[49], "settings: `a[48].b` is wrong"));

    pc_decision decision = {0};
    CHECK(pc_verdict(&decision) == PC_ABSTAIN);
    pc_finding *finding = pc_find(&decision, "A", PC_REVIEW, PC_LOW);
    pc_argument(finding, "text", PC_TEXT("a\"\\\n\b\x01é"));
    pc_argument_number(finding, "number", INT64_MIN);
    CHECK(pc_is(finding->arguments.ptr[0].value, "\"a\\\"\\\\\\n\\b\\u0001é\""));
    CHECK(pc_is(finding->arguments.ptr[1].value, "-9223372036854775808"));
    pc_find(&decision, "B", PC_ALLOW, PC_INFO);
    CHECK(pc_verdict(&decision) == PC_REVIEW);
    CHECK(pc_same_letters(PC_TEXT("aBc\xc3\x84"), PC_TEXT("AbC\xc3\x84")) && !pc_same_letters(PC_TEXT("\xc3\x84"), PC_TEXT("\xc3\xa4")));

    uint32_t whole_number;
    CHECK(pc_parse(PC_TEXT("4294967295"), &value) && pc_whole(&value, &whole_number) && whole_number == UINT32_MAX);
    CHECK(pc_parse(PC_TEXT("4294967296"), &value) && !pc_whole(&value, &whole_number));
    CHECK(pc_parse(PC_TEXT("1.5"), &value) && !pc_whole(&value, &whole_number));
    return test_done();
}
