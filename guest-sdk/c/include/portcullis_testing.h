/* Calls and checks for a plugin's own tests, natively, with no WebAssembly at all: `test.sh` builds and runs them. */
#ifndef PORTCULLIS_TESTING_H
#define PORTCULLIS_TESTING_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portcullis.h"

static int checked, wrong;

/* Counts, and says what is wrong where. */
#define CHECK(what) (checked++, (what) ? (void)0 : (wrong++, (void)printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #what)))

/* Zero where all was right; for the end of `main`. */
static inline int test_done(void) {
    printf("%d checks, %d wrong\n", checked, wrong);
    return wrong == 0 && checked > 0 ? 0 : 1;
}

/* What the plugin says is wrong with these settings. It can be configured as often as a test likes. */
static inline pc_problems test_configure(const char *json) {
    pc_problems problems = {0};
    pc_value value;
    if (pc_parse(pc_words(json), &value)) portcullis_configure(&value, &problems);
    else pc_at(&problems, PC_TEXT("."), "is no JSON");
    return problems;
}

/* A call of this hook kind, by a person. */
static inline pc_call test_call(const char *hook) {
    pc_call call = {.id = PC_TEXT("event"), .tenant = PC_TEXT("default"), .hook = pc_words(hook), .payload = PC_TEXT("null")};
    call.received = 1700000000000;
    call.seed = 1;
    call.subject.is_some = true;
    call.subject.val.type_name = PC_TEXT("user");
    return call;
}

/* One attribute of the subject: JSON text. */
static inline void test_attribute(pc_call *call, const char *name, const char *json) {
    portcullis_policy_types_list_attribute_t *list = &call->subject.val.attributes;
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
    list->ptr[list->len++] = (pc_attribute){pc_words(name), pc_words(json)};
}

/* What can be shortened, within the bounds of an Okta token. Seconds. */
static inline void test_lifetime(pc_call *call, pc_target target, uint32_t seconds) {
    portcullis_policy_types_list_lifetime_t *list = &call->lifetimes;
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
    list->ptr[list->len++] = (pc_lifetime){.target = (uint8_t)target, .seconds = seconds, .least = 300, .most = 86400};
}

/* What the plugin decides; ends the test where it fails. */
static inline pc_decision *test_decide(const pc_call *call) {
    pc_decision *decision = calloc(1, sizeof *decision);
    const char *failed = portcullis_evaluate(call, decision);
    if (failed != NULL) {
        printf("the plugin failed: %s\n", failed);
        exit(1);
    }
    return decision;
}

/* What the host does in a plugin. */
void pc_reserve(size_t room) { (void)room; }
void portcullis_policy_journal_note(plugin_string_t *message) { printf("note: %.*s\n", (int)message->len, message->ptr); }

#endif
