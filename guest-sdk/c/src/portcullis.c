/* Text, settings and decisions; and the exports, which call the plugin's own two functions. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "portcullis.h"

/* How many problems with settings are told one by one. */
#define MOST_PROBLEMS 50

pc_text pc_words(const char *text) { return (pc_text){(uint8_t *)text, strlen(text)}; }

bool pc_same(pc_text a, pc_text b) { return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0); }

bool pc_is(pc_text text, const char *words) { return pc_same(text, pc_words(words)); }

static uint8_t small(uint8_t letter) { return letter >= 'A' && letter <= 'Z' ? letter + ('a' - 'A') : letter; }

bool pc_same_letters(pc_text a, pc_text b) {
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++) {
        if (small(a.ptr[i]) != small(b.ptr[i])) return false;
    }
    return true;
}

/* Text that grows. */
typedef struct {
    uint8_t *ptr;
    size_t len, room;
} growing;

static void put(growing *out, const uint8_t *bytes, size_t count) {
    if (out->len + count > out->room) {
        out->room = (out->len + count) * 2 + 32;
        out->ptr = realloc(out->ptr, out->room);
        if (out->ptr == NULL) abort();
    }
    if (count > 0) memcpy(out->ptr + out->len, bytes, count);
    out->len += count;
}

static void put_words(growing *out, const char *text) { put(out, (const uint8_t *)text, strlen(text)); }

static void put_number(growing *out, uint64_t number) {
    uint8_t digits[20];
    size_t first = sizeof digits;
    do {
        digits[--first] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(out, digits + first, sizeof digits - first);
}

pc_text pc_print(const char *format, ...) {
    growing out = {0};
    va_list values;
    va_start(values, format);
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            put(&out, (const uint8_t *)format, 1);
            continue;
        }
        switch (*++format) {
            case 's': put_words(&out, va_arg(values, const char *)); break;
            case 't': {
                const pc_text *text = va_arg(values, const pc_text *);
                put(&out, text->ptr, text->len);
                break;
            }
            case 'u': put_number(&out, va_arg(values, unsigned)); break;
            default: abort();
        }
    }
    va_end(values);
    return (pc_text){out.ptr, out.len};
}

/* A JSON string, spelt the shortest way. */
static pc_text quoted(pc_text text) {
    growing out = {0};
    put_words(&out, "\"");
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.ptr[i];
        switch (byte) {
            case '"': put_words(&out, "\\\""); break;
            case '\\': put_words(&out, "\\\\"); break;
            case '\n': put_words(&out, "\\n"); break;
            case '\r': put_words(&out, "\\r"); break;
            case '\t': put_words(&out, "\\t"); break;
            case '\b': put_words(&out, "\\b"); break;
            case '\f': put_words(&out, "\\f"); break;
            default:
                if (byte < ' ') {
                    uint8_t escape[] = {'\\', 'u', '0', '0', "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
                    put(&out, escape, sizeof escape);
                } else {
                    put(&out, &byte, 1);
                }
        }
    }
    put_words(&out, "\"");
    return (pc_text){out.ptr, out.len};
}

static const pc_text *json_of(const pc_principal *who, const char *name) {
    if (who == NULL) return NULL;
    for (size_t i = 0; i < who->attributes.len; i++) {
        if (pc_is(who->attributes.ptr[i].name, name)) return &who->attributes.ptr[i].value;
    }
    return NULL;
}

bool pc_text_of(const pc_principal *who, const char *name, pc_text *found) {
    const pc_text *json = json_of(who, name);
    pc_value value;
    if (json == NULL || !pc_parse(*json, &value) || value.type != PC_STRING) return false;
    *found = value.text;
    return true;
}

const pc_principal *pc_subject(const pc_call *call) { return call->subject.is_some ? &call->subject.val : NULL; }

/* Settings. */

static void add_sentence(pc_problems *problems, pc_text sentence) {
    plugin_list_string_t *list = &problems->sentences;
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
    if (list->ptr == NULL) abort();
    list->ptr[list->len++] = sentence;
}

void pc_at(pc_problems *problems, pc_text path, const char *what) {
    if (problems->sentences.len < MOST_PROBLEMS) {
        add_sentence(problems, pc_print("settings: `%t` %s", &path, what));
    } else {
        problems->further++;
    }
}

bool pc_expect(const pc_value *value, pc_type type, pc_text path, pc_problems *problems) {
    static const char *const wrong[] = {"is not null", "is no boolean", "is no number", "is no string", "is no array", "is no object"};
    if (path.len == 0) path = PC_TEXT(".");
    if (value == NULL) {
        pc_at(problems, path, "is missing");
        return false;
    }
    if (value->type == type) return true;
    pc_at(problems, path, wrong[type]);
    return false;
}

bool pc_members(const pc_value *object, const char *const *names, pc_text path, pc_problems *problems) {
    bool right = true;
    const char *dot = path.len > 0 ? "." : "";
    for (size_t i = 0; i < object->count; i++) {
        const char *const *name = names;
        while (*name != NULL && !pc_is(object->names[i], *name)) name++;
        const char *what = *name == NULL ? "is no setting" : NULL;
        for (size_t j = 0; j < i && what == NULL; j++) {
            if (pc_same(object->names[i], object->names[j])) what = "stands there twice";
        }
        if (what == NULL) continue;
        pc_at(problems, pc_print("%t%s%t", &path, dot, &object->names[i]), what);
        right = false;
    }
    return right;
}

/* Decisions. */

pc_finding *pc_find(pc_decision *decision, const char *code, pc_effect effect, pc_severity severity) {
    portcullis_policy_types_list_finding_t *list = &decision->findings;
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
    if (list->ptr == NULL) abort();
    pc_finding *finding = &list->ptr[list->len++];
    *finding = (pc_finding){.code = pc_words(code), .effect = (uint8_t)effect, .severity = (uint8_t)severity};
    return finding;
}

static void add_argument(pc_finding *finding, const char *name, pc_text json) {
    portcullis_policy_types_list_attribute_t *list = &finding->arguments;
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
    if (list->ptr == NULL) abort();
    list->ptr[list->len++] = (pc_attribute){.name = pc_words(name), .value = json};
}

void pc_argument(pc_finding *finding, const char *name, pc_text value) { add_argument(finding, name, quoted(value)); }

void pc_argument_number(pc_finding *finding, const char *name, int64_t value) {
    growing out = {0};
    if (value < 0) put_words(&out, "-");
    put_number(&out, value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value);
    add_argument(finding, name, (pc_text){out.ptr, out.len});
}

pc_change *pc_add_change(pc_decision *decision) {
    portcullis_policy_types_list_change_t *list = &decision->changes;
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
    if (list->ptr == NULL) abort();
    pc_change *change = &list->ptr[list->len++];
    memset(change, 0, sizeof *change);
    return change;
}

void pc_cap_lifetime(pc_decision *decision, pc_target target, uint32_t seconds) {
    pc_change *change = pc_add_change(decision);
    change->tag = PORTCULLIS_POLICY_TYPES_CHANGE_CAP_LIFETIME;
    change->val.cap_lifetime = (portcullis_policy_types_cap_t){.target = (uint8_t)target, .seconds = seconds};
}

static portcullis_policy_types_grant_t grant(pc_grant_kind kind, pc_text id) {
    return (portcullis_policy_types_grant_t){.kind = (uint8_t)kind, .id = id};
}

void pc_add_grant(pc_decision *decision, pc_grant_kind kind, pc_text id) {
    pc_change *change = pc_add_change(decision);
    change->tag = PORTCULLIS_POLICY_TYPES_CHANGE_ADD_GRANT;
    change->val.add_grant = grant(kind, id);
}

void pc_drop_grant(pc_decision *decision, pc_grant_kind kind, pc_text id) {
    pc_change *change = pc_add_change(decision);
    change->tag = PORTCULLIS_POLICY_TYPES_CHANGE_DROP_GRANT;
    change->val.drop_grant = grant(kind, id);
}

pc_effect pc_verdict(const pc_decision *decision) {
    pc_effect strictest = PC_ABSTAIN;
    for (size_t i = 0; i < decision->findings.len; i++) {
        if (decision->findings.ptr[i].effect > (uint8_t)strictest) strictest = (pc_effect)decision->findings.ptr[i].effect;
    }
    return strictest;
}

void pc_note(pc_text message) { portcullis_policy_journal_note(&message); }

/* Tables and memory. */

pc_rows pc_lookup(pc_text table, pc_text key) {
    pc_rows rows;
    portcullis_policy_reference_lookup(&table, &key, &rows);
    return rows;
}

pc_subject_rows pc_lookup_subject(pc_text table) {
    pc_subject_rows rows;
    portcullis_policy_reference_lookup_subject(&table, &rows);
    return rows;
}

bool pc_column(const pc_row *row, const char *name, pc_value *found) {
    for (size_t i = 0; i < row->columns.len; i++) {
        if (pc_is(row->columns.ptr[i].name, name)) return pc_parse(row->columns.ptr[i].value, found);
    }
    return false;
}

bool pc_column_text(const pc_row *row, const char *name, pc_text *found) {
    pc_value value;
    if (!pc_column(row, name, &value) || value.type != PC_STRING) return false;
    *found = value.text;
    return true;
}

bool pc_recall(pc_scope scope, pc_text key, pc_bytes *value) { return portcullis_policy_memory_recall((uint8_t)scope, &key, value); }

void pc_remember(pc_scope scope, pc_text key, pc_bytes value, uint32_t ttl) {
    portcullis_policy_memory_remember((uint8_t)scope, &key, &value, ttl);
}

void pc_forget(pc_scope scope, pc_text key) { portcullis_policy_memory_forget((uint8_t)scope, &key); }

uint32_t pc_count(pc_scope scope, pc_text key, uint32_t window) { return portcullis_policy_memory_count((uint8_t)scope, &key, window); }

uint32_t pc_tally(pc_scope scope, pc_text key, uint32_t window) { return portcullis_policy_memory_tally((uint8_t)scope, &key, window); }

uint32_t pc_count_distinct(pc_scope scope, pc_text key, uint32_t window) {
    return portcullis_policy_memory_count_distinct((uint8_t)scope, &key, window);
}

uint32_t pc_tally_distinct(pc_scope scope, pc_text key, pc_text member, uint32_t window) {
    return portcullis_policy_memory_tally_distinct((uint8_t)scope, &key, &member, window);
}

/* The exports. */

static bool configured;

bool exports_plugin_configure(plugin_json_t *settings, plugin_list_string_t *complaints) {
    pc_problems problems = {0};
    pc_value value;
    if (configured) {
        add_sentence(&problems, PC_TEXT("settings: the plugin is configured already"));
    } else if (!pc_parse(*settings, &value)) {
        add_sentence(&problems, PC_TEXT("settings: no JSON"));
    } else {
        portcullis_configure(&value, &problems);
    }
    if (problems.further > 0) add_sentence(&problems, pc_print("settings: and %u more problems", (unsigned)problems.further));
    *complaints = problems.sentences;
    if (problems.sentences.len > 0) return false;
    configured = true;
    pc_reserve(PORTCULLIS_ROOM);
    return true;
}

bool exports_plugin_evaluate(plugin_call_t *call, plugin_decision_t *decision, plugin_string_t *failure) {
    memset(decision, 0, sizeof *decision);
    const char *failed = configured ? portcullis_evaluate(call, decision) : "the plugin was not configured";
    if (failed != NULL) *failure = pc_words(failed);
    return failed == NULL;
}
