/* Does what it must not, in the ways that C offers. */
#include "portcullis.h"

#include <stdlib.h>
#include <string.h>

static uint8_t calls;

static int recurse(volatile int depth) { return depth < 0 ? 0 : recurse(depth + 1) + depth; }

static const char *loop(void) {
    for (volatile int i = 0;; i++) {
    }
    return NULL;
}

void portcullis_configure(const pc_value *settings, pc_problems *problems) {
    const pc_value *misbehaviour = pc_member(settings, "configure");
    if (misbehaviour == NULL) return;
    if (pc_is(misbehaviour->text, "loop")) loop();
    pc_at(problems, PC_TEXT("configure"), "is wrong: the plugin says why");
}

const char *portcullis_evaluate(const pc_call *call, pc_decision *decision) {
    pc_text misbehaviour;
    if (!pc_text_of(pc_subject(call), "status", &misbehaviour) || pc_is(misbehaviour, "nothing")) return NULL;
    if (pc_is(misbehaviour, "loop")) return loop();
    if (pc_is(misbehaviour, "eat")) {
        for (;;) memset(malloc(1 << 20), 1, 1 << 20);
    }
    if (pc_is(misbehaviour, "flood")) {
        pc_text much = {malloc(1 << 20), 1 << 20};
        memset(much.ptr, 'x', much.len);
        pc_argument(pc_find(decision, "FLOOD", PC_ALLOW, PC_INFO), "text", much);
        return NULL;
    }
    if (pc_is(misbehaviour, "throw")) return "the plugin says why";
    if (pc_is(misbehaviour, "crash")) {
        *(volatile uint32_t *)0xfffffff0u = 1;
        return NULL;
    }
    if (pc_is(misbehaviour, "recurse")) {
        decision->risk.val = (uint8_t)recurse(0);
        return NULL;
    }
    if (pc_is(misbehaviour, "remember")) {
        decision->risk = (plugin_option_u8_t){.is_some = true, .val = ++calls};
        return NULL;
    }
    if (pc_is(misbehaviour, "order")) {
        /* Memory that nobody wrote is the snapshot's, always. */
        pc_argument_number(pc_find(decision, "ORDER", PC_ALLOW, PC_INFO), "byte", *(volatile uint8_t *)malloc(1));
        return NULL;
    }
    return "there is no such misbehaviour";
}
