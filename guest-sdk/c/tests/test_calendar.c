/* Dates, zones, shifts and holidays: the vectors that all SDKs share. */
#include "portcullis_calendar.h"
#include "portcullis_testing.h"

void portcullis_configure(const pc_value *settings, pc_problems *problems) { pc_expect(settings, PC_OBJECT, PC_TEXT(""), problems); }

const char *portcullis_evaluate(const pc_call *call, pc_decision *decision) { return NULL; }

static pc_value vectors;

/* Says which case is wrong. */
#define CHECK_CASE(what, value) (checked++, (what) ? (void)0 : (wrong++, (void)printf("%s:%d: %s: not so for %.*s\n", __FILE__, __LINE__, #what, (int)(value).text.len, (value).text.ptr)))

static int64_t whole(const pc_value *number) {
    char text[32] = {0};
    memcpy(text, number->text.ptr, number->text.len < 31 ? number->text.len : 31);
    return strtoll(text, NULL, 10);
}

/* A list of vectors, which has at least so many. */
static const pc_value *cases(const char *name, size_t least) {
    const pc_value *list = pc_member(&vectors, name);
    CHECK(list != NULL && list->count >= least);
    return list;
}

static pc_zone zone_of(const pc_value *name) {
    static pc_value last;
    static pc_zone zone;
    if (last.text.ptr != NULL && pc_same(last.text, name->text)) return zone;
    CHECK_CASE(pc_zone_named(name->text, &zone), *name);
    last = *name;
    return zone;
}

static bool is_date(pc_date date, pc_text text) { return pc_same(pc_date_text(date), text); }

/* `2026-11-30T17:00:00.250`, as the vectors spell it. */
static pc_text spelled(pc_local local) {
    char *text = malloc(64);
    pc_text date = pc_date_text(local.date);
    int length = snprintf(text, 64, "%.*sT%02d:%02d:%02d.%03d", (int)date.len, date.ptr, local.hour, local.minute, local.second, local.millisecond);
    return (pc_text){(uint8_t *)text, (size_t)length};
}

static pc_local read_local(pc_text text) {
    int numbers[7];
    char copy[64] = {0};
    memcpy(copy, text.ptr, text.len < 63 ? text.len : 63);
    sscanf(copy, "%d-%d-%dT%d:%d:%d.%d", &numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4], &numbers[5], &numbers[6]);
    return (pc_local){{numbers[0], (uint8_t)numbers[1], (uint8_t)numbers[2]}, (uint8_t)numbers[3], (uint8_t)numbers[4], (uint8_t)numbers[5], (uint16_t)numbers[6]};
}

/* Seconds east of UTC, from what a zone shows. */
static int64_t offset(const pc_zone *zone, int64_t second) {
    pc_local local;
    int64_t shown;
    pc_zone utc;
    if (!pc_local_time(zone, second * 1000, &local) || !pc_zone_named(PC_TEXT("UTC"), &utc) || !pc_instant(&utc, &local, &shown)) return INT64_MIN;
    free(utc.moments);
    free(utc.offsets);
    return shown / 1000 - second;
}

static void dates(void) {
    const pc_value *list = cases("dates", 60);
    for (size_t i = 0; i < list->count; i++) {
        const pc_value *one = list->values[i].values;
        pc_date date, later, moved;
        CHECK_CASE(pc_parse_date(one[0].text, &date) && is_date(date, one[0].text), one[0]);
        later = moved = date;
        CHECK_CASE(pc_weekday(date) == whole(&one[1]), one[0]);
        CHECK_CASE(pc_add_days(&later, whole(&one[2])) == (one[3].type == PC_STRING), one[0]);
        CHECK_CASE(one[3].type != PC_STRING || is_date(later, one[3].text), one[0]);
        CHECK_CASE(pc_add_months(&moved, whole(&one[4])) == (one[5].type == PC_STRING), one[0]);
        CHECK_CASE(one[5].type != PC_STRING || is_date(moved, one[5].text), one[0]);
        CHECK_CASE(one[3].type != PC_STRING || pc_compare_dates(date, later) == (whole(&one[2]) > 0 ? -1 : whole(&one[2]) < 0), one[0]);
    }
    pc_date date = {2026, 1, 1};
    int64_t instant;
    list = cases("refused_dates", 20);
    for (size_t i = 0; i < list->count; i++) CHECK_CASE(!pc_parse_date(list->values[i].text, &date), list->values[i]);
    CHECK(!pc_add_days(&date, INT64_MAX) && !pc_add_days(&date, INT64_MIN) && !pc_add_months(&date, INT64_MAX) && !pc_add_months(&date, INT64_MIN));
    list = cases("instants", 10);
    for (size_t i = 0; i < list->count; i++) {
        const pc_value *one = list->values[i].values;
        CHECK_CASE(pc_parse_instant(one[0].text, &instant) && instant == whole(&one[1]), one[0]);
        /* Every cut, in a block of just its size, so that a byte read beyond it is found out. */
        for (size_t length = 0; length < one[0].text.len; length++) {
            uint8_t *cut = malloc(length == 0 ? 1 : length);
            memcpy(cut, one[0].text.ptr, length);
            CHECK_CASE(!pc_parse_instant((pc_text){cut, length}, &instant), one[0]);
            CHECK_CASE(pc_parse_date((pc_text){cut, length}, &date) == (length == 10), one[0]);
            free(cut);
        }
    }
    list = cases("refused_instants", 20);
    for (size_t i = 0; i < list->count; i++) CHECK_CASE(!pc_parse_instant(list->values[i].text, &instant), list->values[i]);
}

static void zones(void) {
    CHECK(pc_is(cases("tzdb", 1)->values[0].text, pc_tzdb));
    const pc_value *list = cases("zones", 500);
    pc_text all = cases("names", 1)->values[0].text;
    size_t at = 0;
    for (size_t i = 0; i < list->count; i++) {
        const pc_value *one = list->values[i].values;
        pc_zone zone = zone_of(&one[0]);
        int64_t state = 1, total = 0;
        for (int sample = 0; sample < 500; sample++) {
            state = state * 16807 % 2147483647;
            total = (total * 31 + offset(&zone, 86400 + state * 2 % 4133894400) + 86400) % 1000003;
        }
        CHECK_CASE(total == whole(&one[1]), one[0]);
        CHECK_CASE(pc_same((pc_text){all.ptr + at, one[0].text.len}, one[0].text), one[0]);
        at += one[0].text.len + 1;
    }
    CHECK(at == all.len + 1);
    list = cases("refused_zones", 10);
    pc_zone none;
    for (size_t i = 0; i < list->count; i++) CHECK_CASE(!pc_zone_named(list->values[i].text, &none), list->values[i]);
    list = cases("changes", 20);
    for (size_t i = 0; i < list->count; i++) {
        const pc_value *one = list->values[i].values;
        pc_zone zone = zone_of(&one[0]);
        for (size_t number = 1; number + 1 < list->values[i].count; number += 2) {
            int64_t second = whole(&one[number]), after = whole(&one[number + 1]);
            CHECK_CASE(offset(&zone, second) == after && offset(&zone, second - 1) != after, one[0]);
        }
    }
}

static void local_times(void) {
    pc_local local;
    int64_t instant, end;
    const char *const lists[] = {"locals", "inside"};
    for (int which = 0; which < 2; which++) {
        const pc_value *list = cases(lists[which], 2);
        for (size_t i = 0; i < list->count; i++) {
            const pc_value *one = list->values[i].values;
            pc_zone zone = zone_of(&one[0]);
            CHECK_CASE(pc_local_time(&zone, whole(&one[1]), &local) && pc_same(spelled(local), one[2].text), one[2]);
        }
    }
    const pc_value *list = cases("to_instants", 200);
    for (size_t i = 0; i < list->count; i++) {
        const pc_value *one = list->values[i].values;
        pc_zone zone = zone_of(&one[0]);
        local = read_local(one[1].text);
        CHECK_CASE(pc_instant(&zone, &local, &instant) && instant == whole(&one[2]), one[1]);
    }
    list = cases("outside", 4);
    for (size_t i = 0; i < list->count; i++) {
        pc_zone zone = zone_of(&list->values[i].values[0]);
        CHECK_CASE(!pc_local_time(&zone, whole(&list->values[i].values[1]), &local), list->values[i].values[0]);
    }
    const char *const days[] = {"days", "last_days"};
    for (int which = 0; which < 2; which++) {
        list = cases(days[which], 2);
        for (size_t i = 0; i < list->count; i++) {
            const pc_value *one = list->values[i].values;
            pc_zone zone = zone_of(&one[0]);
            pc_date date;
            CHECK_CASE(pc_parse_date(one[1].text, &date), one[1]);
            CHECK_CASE(pc_start_of_day(&zone, date, &instant) && instant == whole(&one[2]), one[1]);
            CHECK_CASE(pc_end_of_day(&zone, date, &end) && end == whole(&one[3]), one[1]);
        }
    }
    pc_zone utc;
    pc_local before = {.date = {1969, 12, 31}};
    CHECK(pc_zone_named(PC_TEXT("UTC"), &utc));
    CHECK(!pc_instant(&utc, &before, &instant) && !pc_start_of_day(&utc, before.date, &instant) && !pc_end_of_day(&utc, before.date, &instant));
    CHECK(!pc_local_time(&utc, INT64_MAX, &local) && !pc_local_time(&utc, INT64_MIN, &local));
}

static void shifts(void) {
    pc_shift shift;
    pc_date date;
    const pc_value *list = cases("shifts", 200);
    for (size_t i = 0; i < list->count; i++) {
        const pc_value *one = list->values[i].values;
        pc_zone zone = zone_of(&one[0]);
        CHECK_CASE(pc_parse_shift(one[2].text, one[3].text, &shift), one[2]);
        CHECK_CASE(pc_shift_day(&zone, whole(&one[1]), shift, &date) == (one[4].type == PC_STRING), one[1]);
        CHECK_CASE(one[4].type != PC_STRING || is_date(date, one[4].text), one[1]);
    }
    list = cases("refused_shifts", 5);
    for (size_t i = 0; i < list->count; i++) {
        const pc_value *one = list->values[i].values;
        CHECK_CASE(!pc_parse_shift(one[0].text, one[1].text, &shift), one[0]);
    }
    pc_zone utc;
    CHECK(pc_zone_named(PC_TEXT("UTC"), &utc) && pc_parse_shift(PC_TEXT("00:00"), PC_TEXT("24:00"), &shift));
    CHECK(!pc_shift_day(&utc, -1, shift, &date));
}

static void holidays(void) {
    pc_problems problems = {0};
    pc_value list;
    CHECK(pc_parse(PC_TEXT("[\"2026-04-03\",\"12-25\",\"02-29\",\"2026-02-29\",\"1-1\",\"13-01\",7]"), &list));
    pc_holidays read = pc_read_holidays(&list, PC_TEXT("holidays"), &problems);
    CHECK(read.count == 3 && problems.sentences.len == 4);
    const char *which[] = {"[3]", "[4]", "[5]", "[6]"};
    for (size_t i = 0; i < 4; i++) {
        pc_text told = pc_print("settings: `holidays%s` is no day, such as `2026-12-25`, or `12-25` for every year", which[i]);
        CHECK(pc_same(problems.sentences.ptr[i], told));
    }
    CHECK(pc_is_holiday(&read, (pc_date){2026, 4, 3}) && !pc_is_holiday(&read, (pc_date){2027, 4, 3}));
    CHECK(pc_is_holiday(&read, (pc_date){2030, 12, 25}) && pc_is_holiday(&read, (pc_date){2028, 2, 29}) && !pc_is_holiday(&read, (pc_date){2026, 2, 28}));
    pc_problems others = {0};
    CHECK(pc_parse(PC_TEXT("\"2026-04-03\""), &list) && pc_read_holidays(&list, PC_TEXT("closed.days"), &others).count == 0);
    CHECK(others.sentences.len == 1 && pc_is(others.sentences.ptr[0], "settings: `closed.days` is no array"));
    test_column(test_row("closed", "2026-04-03", NULL), "name", "\"Good Friday\"");
    CHECK(pc_holiday_in_table(PC_TEXT("closed"), (pc_date){2026, 4, 3}) && !pc_holiday_in_table(PC_TEXT("closed"), (pc_date){2026, 4, 4}));
    test_reset();
}

int main(void) {
    FILE *file = fopen("../../calendar/vectors.json", "rb");
    size_t room = (size_t)4 << 20;
    uint8_t *text = malloc(room);
    CHECK(file != NULL);
    size_t length = file == NULL ? 0 : fread(text, 1, room, file);
    CHECK(length < room && pc_parse((pc_text){text, length}, &vectors));
    if (wrong > 0) return test_done();
    fclose(file);
    dates();
    zones();
    local_times();
    shifts();
    holidays();
    return test_done();
}
