/* The SDK's functions for tables and memory, on those of a test. */
#include "portcullis_testing.h"

void portcullis_configure(const pc_value *settings, pc_problems *problems) { pc_expect(settings, PC_OBJECT, PC_TEXT(""), problems); }

const char *portcullis_evaluate(const pc_call *call, pc_decision *decision) { return NULL; }

static pc_call at(const char *subject, uint64_t millis) {
    pc_call call = test_call("okta.token");
    call.received = millis;
    call.subject.val.id.is_some = subject != NULL;
    if (subject != NULL) call.subject.val.id.val = pc_words(subject);
    return call;
}

int main(void) {
    pc_row *row = test_row("roster", "4711", "u1");
    test_column(row, "ward", "\"north\"");
    test_column(row, "beds", "7");
    test_column(test_row("roster", "4711", NULL), "ward", "\"south\"");
    pc_rows rows = pc_lookup(PC_TEXT("roster"), PC_TEXT("4711"));
    pc_text ward;
    pc_value beds;
    uint32_t number;
    CHECK(rows.rows.len == 2 && !rows.stale);
    CHECK(pc_column_text(&rows.rows.ptr[0], "ward", &ward) && pc_is(ward, "north"));
    CHECK(pc_column_text(&rows.rows.ptr[1], "ward", &ward) && pc_is(ward, "south"));
    CHECK(!pc_column_text(&rows.rows.ptr[0], "beds", &ward) && !pc_column_text(&rows.rows.ptr[1], "beds", &ward));
    CHECK(pc_column(&rows.rows.ptr[0], "beds", &beds) && pc_whole(&beds, &number) && number == 7);
    CHECK(pc_lookup(PC_TEXT("roster"), PC_TEXT("4712")).rows.len == 0);
    test_set_stale(true);
    CHECK(pc_lookup(PC_TEXT("roster"), PC_TEXT("4711")).stale && pc_lookup_subject(PC_TEXT("roster")).stale);
    test_set_stale(false);

    pc_call first = at("u1", 1000), second = at("u2", 2000);
    test_enter(&first);
    CHECK(pc_lookup_subject(PC_TEXT("roster")).matched == PC_MATCH_ONE);
    pc_bytes value = {(uint8_t *)"x", 1}, found;
    pc_remember(PC_SUBJECT, PC_TEXT("last"), value, 10);
    CHECK(pc_tally(PC_SHARED, PC_TEXT("tries"), 60) == 1);
    CHECK(pc_tally_distinct(PC_SHARED, PC_TEXT("who"), PC_TEXT("u1"), 60) == 1);
    test_enter(&second);
    CHECK(pc_lookup_subject(PC_TEXT("roster")).matched == PC_MATCH_NONE);
    CHECK(!pc_recall(PC_SUBJECT, PC_TEXT("last"), &found));
    CHECK(pc_tally(PC_SHARED, PC_TEXT("tries"), 60) == 2);
    CHECK(pc_tally_distinct(PC_SHARED, PC_TEXT("who"), PC_TEXT("u1"), 60) == 1);
    CHECK(pc_tally_distinct(PC_SHARED, PC_TEXT("who"), PC_TEXT("u2"), 60) == 2);
    CHECK(pc_count_distinct(PC_SHARED, PC_TEXT("who"), 60) == 2);

    first.received = 10999;
    test_enter(&first);
    CHECK(pc_recall(PC_SUBJECT, PC_TEXT("last"), &found) && found.len == 1 && found.ptr[0] == 'x');
    first.received = 11000;
    CHECK(!pc_recall(PC_SUBJECT, PC_TEXT("last"), &found));
    first.received = 61500;
    CHECK(pc_count(PC_SHARED, PC_TEXT("tries"), 60) == 1);
    pc_remember(PC_SHARED, PC_TEXT("tries"), value, 10);
    pc_forget(PC_SHARED, PC_TEXT("tries"));
    CHECK(!pc_recall(PC_SHARED, PC_TEXT("tries"), &found));
    CHECK(pc_count(PC_SHARED, PC_TEXT("tries"), 60) == 1);
    return test_done();
}
