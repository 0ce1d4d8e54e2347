/* The plugin natively: `sh portcullis/guest-sdk/c/test.sh policy.c test_policy.c`. `portcullis plugin test` tries the component itself with
 * suite.toml. */
#include "portcullis_testing.h"

int main(void) {
    pc_problems problems = test_configure("{\"department\": \"\", \"longest_seconds\": 300}");
    CHECK(problems.sentences.len == 1);
    CHECK(pc_is(problems.sentences.ptr[0], "settings: `department` is empty: nobody would get in"));

    CHECK(test_configure("{\"department\": \"pharmacy\", \"longest_seconds\": 3600}").sentences.len == 0);
    pc_call call = test_call("okta.token");
    test_lifetime(&call, PC_ACCESS_TOKEN, 7200);
    CHECK(pc_verdict(test_decide(&call)) == PC_DENY);

    test_attribute(&call, "department", "\"pharmacy\"");
    pc_decision *decision = test_decide(&call);
    CHECK(pc_verdict(decision) == PC_ALLOW);
    CHECK(decision->changes.len == 1 && decision->changes.ptr[0].val.cap_lifetime.seconds == 3600);
    return test_done();
}
