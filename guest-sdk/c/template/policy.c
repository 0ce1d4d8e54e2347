/* Only people of one department get a token, and no long one.
 *
 * A template: replace it with your own policy.
 */
#include "portcullis.h"

/* What the operator decides. The manifest's settings.schema.json says the same to people and editors. */
static pc_text department;
static uint32_t longest_seconds;

/* Once, when a release is activated. What it leaves in static variables is kept in a snapshot, and every call begins with it. */
void portcullis_configure(const pc_value *settings, pc_problems *problems) {
    static const char *const members[] = {"department", "longest_seconds", NULL};
    if (!pc_expect(settings, PC_OBJECT, PC_TEXT(""), problems)) return;
    pc_members(settings, members, PC_TEXT(""), problems);
    const pc_value *name = pc_member(settings, "department"), *longest = pc_member(settings, "longest_seconds");
    if (pc_expect(name, PC_STRING, PC_TEXT("department"), problems)) {
        if (name->text.len == 0) pc_at(problems, PC_TEXT("department"), "is empty: nobody would get in");
        department = name->text;
    }
    if (pc_expect(longest, PC_NUMBER, PC_TEXT("longest_seconds"), problems) && !pc_whole(longest, &longest_seconds)) {
        pc_at(problems, PC_TEXT("longest_seconds"), "is no number of seconds");
    }
}

/* Once a call, in an instance of its own. A sentence is a failure; a refusal is a finding with PC_DENY. */
const char *portcullis_evaluate(const pc_call *call, pc_decision *decision) {
    pc_text found;
    if (!pc_text_of(pc_subject(call), "department", &found) || !pc_same(found, department)) {
        pc_argument(pc_find(decision, "OTHER_DEPARTMENT", PC_DENY, PC_MEDIUM), "department", department);
        return NULL;
    }
    pc_find(decision, "RIGHT_DEPARTMENT", PC_ALLOW, PC_INFO);
    for (size_t i = 0; i < call->lifetimes.len; i++) {
        const pc_lifetime *lifetime = &call->lifetimes.ptr[i];
        if (lifetime->seconds <= longest_seconds) continue;
        uint32_t seconds = longest_seconds > lifetime->least ? longest_seconds : lifetime->least;
        pc_cap_lifetime(decision, (pc_target)lifetime->target, seconds);
    }
    return NULL;
}
