/* Working hours and leavers: who may sign in when, and until when. The same decision as in the folders beside this one.
 *
 * Invariants:
 * - Whoever has left, or of whom that is not known, gets no token.
 * - No token outlives the shift that it was asked for in.
 * - The clock is the call's. Hours are UTC, so that an answer means the same everywhere, for good.
 */
#include "portcullis.h"

#include <stdlib.h>

#define MINUTE 60000u
#define DAY (24 * 60)

/* One department's hours, in minutes of the day. */
typedef struct {
    pc_text department;
    int from, until;
    pc_effect outside;
} shift;

/* The settings, ready to be asked. */
static const pc_value *terminated;
static shift *shifts;
static size_t shift_count;
static pc_effect unlisted = PC_DENY;

static bool two_digits(const uint8_t *text, int below, int *number) {
    if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9') return false;
    *number = (text[0] - '0') * 10 + (text[1] - '0');
    return *number < below;
}

/* `HH:MM` as minutes since midnight. */
static bool minutes(pc_text text, int *found) {
    int hour, minute;
    if (text.len != 5 || text.ptr[2] != ':' || !two_digits(text.ptr, 24, &hour) || !two_digits(text.ptr + 3, 60, &minute)) return false;
    *found = hour * 60 + minute;
    return true;
}

/* What is said of others; absent means that they are denied. */
static pc_effect effect(const pc_value *value, bool may_abstain, pc_text path, pc_problems *problems) {
    if (value == NULL) return PC_DENY;
    if (!pc_expect(value, PC_STRING, path, problems)) return PC_DENY;
    if (may_abstain && pc_is(value->text, "abstain")) return PC_ABSTAIN;
    if (pc_is(value->text, "step-up")) return PC_STEP_UP;
    if (pc_is(value->text, "review")) return PC_REVIEW;
    if (!pc_is(value->text, "deny")) pc_at(problems, path, "is no effect that can be said here");
    return PC_DENY;
}

static int time_of(const pc_value *department, const char *member, unsigned index, pc_problems *problems) {
    int found = 0;
    pc_text path = pc_print("departments[%u].%s", index, member);
    const pc_value *text = pc_member(department, member);
    if (pc_expect(text, PC_STRING, path, problems) && !minutes(text->text, &found)) {
        pc_at(problems, path, "is no time of day such as `07:30`");
    }
    return found;
}

static void add_department(const pc_value *department, unsigned index, pc_problems *problems) {
    static const char *const members[] = {"name", "from", "until", "outside", NULL};
    pc_text path = pc_print("departments[%u]", index);
    if (!pc_expect(department, PC_OBJECT, path, problems)) return;
    pc_members(department, members, path, problems);
    shift new = {.from = time_of(department, "from", index, problems), .until = time_of(department, "until", index, problems)};
    new.outside = effect(pc_member(department, "outside"), false, pc_print("departments[%u].outside", index), problems);
    const pc_value *from = pc_member(department, "from"), *until = pc_member(department, "until"), *name = pc_member(department, "name");
    if (from != NULL && until != NULL && pc_same(from->text, until->text)) {
        pc_at(problems, pc_print("departments[%u].until", index), "is the same as `from`");
    }
    path = pc_print("departments[%u].name", index);
    if (!pc_expect(name, PC_STRING, path, problems)) return;
    new.department = name->text;
    for (size_t i = 0; i < shift_count; i++) {
        if (pc_same(shifts[i].department, new.department)) {
            pc_at(problems, path, "stands there twice");
            return;
        }
    }
    shifts[shift_count++] = new;
}

void portcullis_configure(const pc_value *settings, pc_problems *problems) {
    static const char *const members[] = {"terminated", "departments", "unlisted", NULL};
    if (!pc_expect(settings, PC_OBJECT, PC_TEXT(""), problems)) return;
    pc_members(settings, members, PC_TEXT(""), problems);
    terminated = pc_member(settings, "terminated");
    if (pc_expect(terminated, PC_ARRAY, PC_TEXT("terminated"), problems)) {
        if (terminated->count == 0) pc_at(problems, PC_TEXT("terminated"), "is empty: nobody would ever have left");
        for (unsigned i = 0; i < terminated->count; i++) {
            pc_expect(&terminated->values[i], PC_STRING, pc_print("terminated[%u]", i), problems);
        }
        /* The snapshot keeps what lies here; the settings' own text is not lost either. */
        pc_value *kept = malloc(sizeof *kept);
        *kept = *terminated;
        terminated = kept;
    }
    unlisted = effect(pc_member(settings, "unlisted"), true, PC_TEXT("unlisted"), problems);
    const pc_value *departments = pc_member(settings, "departments");
    if (!pc_expect(departments, PC_ARRAY, PC_TEXT("departments"), problems)) return;
    if (departments->count == 0) pc_at(problems, PC_TEXT("departments"), "is empty: nobody would work here");
    shifts = malloc(departments->count * sizeof *shifts);
    for (unsigned i = 0; i < departments->count; i++) add_department(&departments->values[i], i, problems);
}

/* The seconds that are left of the shift; none or less outside it. */
static int64_t seconds_left(const shift *shift, uint64_t received) {
    int64_t day = DAY * 60, now = (int64_t)(received / 1000 % (uint64_t)day);
    int64_t length = ((int64_t)shift->until * 60 + day - shift->from * 60) % day;
    int64_t gone = (now + day - shift->from * 60) % day;
    return length - gone;
}

/* Minutes since midnight as `HH:MM`. */
static pc_text clock(int minutes) {
    uint8_t *text = malloc(5);
    int parts[] = {minutes / 60 / 10, minutes / 60 % 10, -1, minutes % 60 / 10, minutes % 60 % 10};
    for (int i = 0; i < 5; i++) text[i] = parts[i] < 0 ? ':' : (uint8_t)('0' + parts[i]);
    return (pc_text){text, 5};
}

static pc_finding *of_shift(pc_decision *decision, const char *code, pc_effect effect, pc_severity severity, const shift *shift) {
    pc_finding *finding = pc_find(decision, code, effect, severity);
    pc_argument(finding, "department", shift->department);
    pc_argument(finding, "from", clock(shift->from));
    pc_argument(finding, "until", clock(shift->until));
    return finding;
}

const char *portcullis_evaluate(const pc_call *call, pc_decision *decision) {
    pc_text status, department;
    if (!pc_text_of(pc_subject(call), "status", &status)) {
        pc_find(decision, "HOURS_STATUS_MISSING", PC_DENY, PC_HIGH);
        return NULL;
    }
    for (size_t i = 0; i < terminated->count; i++) {
        if (!pc_same_letters(terminated->values[i].text, status)) continue;
        pc_argument(pc_find(decision, "HOURS_TERMINATED", PC_DENY, PC_CRITICAL), "status", status);
        return NULL;
    }
    const shift *shift = NULL;
    if (pc_text_of(pc_subject(call), "department", &department)) {
        for (size_t i = 0; i < shift_count && shift == NULL; i++) {
            if (pc_same(shifts[i].department, department)) shift = &shifts[i];
        }
    }
    if (shift == NULL) {
        if (unlisted != PC_ABSTAIN) pc_find(decision, "HOURS_NO_DEPARTMENT", unlisted, PC_MEDIUM);
        return NULL;
    }
    int64_t left = seconds_left(shift, call->received);
    if (left <= 0) {
        pc_finding *finding = of_shift(decision, "HOURS_OUTSIDE", shift->outside, PC_MEDIUM, shift);
        pc_argument(finding, "now", clock((int)(call->received / MINUTE % DAY)));
        return NULL;
    }
    for (size_t i = 0; i < call->lifetimes.len; i++) {
        const pc_lifetime *lifetime = &call->lifetimes.ptr[i];
        if (lifetime->seconds > left && left < lifetime->least) {
            pc_argument_number(of_shift(decision, "HOURS_ENDING", PC_DENY, PC_LOW, shift), "seconds", left);
            return NULL;
        }
    }
    of_shift(decision, "HOURS_INSIDE", PC_ALLOW, PC_INFO, shift);
    for (size_t i = 0; i < call->lifetimes.len; i++) {
        const pc_lifetime *lifetime = &call->lifetimes.ptr[i];
        if (lifetime->seconds > left) pc_cap_lifetime(decision, (pc_target)lifetime->target, (uint32_t)left);
    }
    return NULL;
}
