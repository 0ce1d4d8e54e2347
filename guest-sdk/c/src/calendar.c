/* Dates, time zones, shifts and holidays: see `portcullis_calendar.h`.
 *
 * Invariant: no text is read beyond its length, and no number overflows, whatever is asked.
 */
#include <stdlib.h>
#include <string.h>

#include "portcullis_calendar.h"
#include "zones.h"

#define DAY ((int64_t)86400)
#define FIRST_DAY ((int64_t)-719162)
#define LAST_DAY ((int64_t)2932896)
#define BEGINNING (-DAY)
#define NO_DAY "is no day, such as `2026-12-25`, or `12-25` for every year"

/* Numbers. */

/* Rounded down. */
static int64_t quotient(int64_t number, int64_t by) { return number / by - (number % by < 0 ? 1 : 0); }

/* Never negative. */
static int64_t modulo(int64_t number, int64_t by) { return number - quotient(number, by) * by; }

static int month_length(int64_t year, int month) {
    if (month == 2) return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/* Days since the epoch in the proleptic Gregorian calendar; years begin in March. */
static int64_t day_number(int64_t year, int month, int day) {
    int64_t from = month > 2 ? year : year - 1;
    int index = month > 2 ? month - 3 : month + 9;
    int64_t leaps = quotient(from, 4) - quotient(from, 100) + quotient(from, 400);
    return from * 365 + leaps + (153 * index + 2) / 5 + day - 719469;
}

static int64_t number_of(pc_date date) { return day_number(date.year, date.month, date.day); }

/* The reverse. */
static pc_date civil(int64_t number) {
    int64_t since = number + 719468, era = quotient(since, 146097), of_era = since - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = (int)(of_era - (365 * year + year / 4 - year / 100));
    int index = (5 * of_year + 2) / 153, month = index < 10 ? index + 3 : index - 9;
    int day = of_year - (153 * index + 2) / 5 + 1;
    return (pc_date){(int32_t)(era * 400 + year + (month <= 2 ? 1 : 0)), (uint8_t)month, (uint8_t)day};
}

/* Text. */

/* `count` digits at a place of a text. */
static bool digits(pc_text text, size_t at, size_t count, int *number) {
    *number = 0;
    if (at + count > text.len) return false;
    for (size_t i = at; i < at + count; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
        *number = *number * 10 + (text.ptr[i] - '0');
    }
    return true;
}

static bool has(pc_text text, size_t at, char letter) { return at < text.len && text.ptr[at] == (uint8_t)letter; }

bool pc_parse_date(pc_text text, pc_date *date) {
    int year, month, day;
    bool shaped = text.len == 10 && has(text, 4, '-') && has(text, 7, '-');
    if (!shaped || !digits(text, 0, 4, &year) || !digits(text, 5, 2, &month) || !digits(text, 8, 2, &day)) return false;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > month_length(year, month)) return false;
    *date = (pc_date){year, (uint8_t)month, (uint8_t)day};
    return true;
}

bool pc_parse_instant(pc_text text, int64_t *instant) {
    pc_date date;
    int hour, minute, second, millis = 0, offset_hours = 0, offset_minutes = 0, sign = 1;
    if (text.len < 20 || !pc_parse_date((pc_text){text.ptr, 10}, &date) || !(has(text, 10, 'T') || has(text, 10, 't'))) return false;
    if (!digits(text, 11, 2, &hour) || !digits(text, 14, 2, &minute) || !digits(text, 17, 2, &second)) return false;
    if (!has(text, 13, ':') || !has(text, 16, ':') || hour > 23 || minute > 59 || second > 60) return false;
    size_t at = 19;
    if (has(text, at, '.')) {
        size_t count = 0;
        int digit;
        for (at++; digits(text, at, 1, &digit); at++, count++) {
            if (count < 3) millis = millis * 10 + digit;
        }
        if (count < 1 || count > 9) return false;
        for (; count < 3; count++) millis *= 10;
    }
    if (has(text, at, 'Z') || has(text, at, 'z')) {
        at++;
    } else {
        if (!has(text, at, '+') && !has(text, at, '-')) return false;
        sign = has(text, at, '-') ? -1 : 1;
        if (!digits(text, at + 1, 2, &offset_hours) || !has(text, at + 3, ':') || !digits(text, at + 4, 2, &offset_minutes)) return false;
        if (offset_hours > 23 || offset_minutes > 59) return false;
        at += 6;
    }
    if (at != text.len) return false;
    int64_t minutes = (number_of(date) * 24 + hour) * 60 + minute - sign * (offset_hours * 60 + offset_minutes);
    *instant = (minutes * 60 + (second < 60 ? second : 59)) * 1000 + millis;
    return true;
}

pc_text pc_date_text(pc_date date) {
    int numbers[] = {date.year / 100 % 100, date.year % 100, date.month % 100, date.day % 100};
    uint8_t *text = malloc(10), *end = text;
    if (text == NULL) abort();
    for (int i = 0; i < 4; i++) {
        if (i > 1) *end++ = '-';
        *end++ = (uint8_t)('0' + numbers[i] / 10);
        *end++ = (uint8_t)('0' + numbers[i] % 10);
    }
    return (pc_text){text, 10};
}

int pc_compare_dates(pc_date a, pc_date b) {
    int64_t first = number_of(a), second = number_of(b);
    return first < second ? -1 : first > second;
}

unsigned pc_weekday(pc_date date) { return (unsigned)modulo(number_of(date) + 3, 7) + 1; }

bool pc_add_days(pc_date *date, int64_t days) {
    if (days < FIRST_DAY - LAST_DAY || days > LAST_DAY - FIRST_DAY) return false;
    int64_t number = number_of(*date) + days;
    if (number < FIRST_DAY || number > LAST_DAY) return false;
    *date = civil(number);
    return true;
}

bool pc_add_months(pc_date *date, int64_t months) {
    if (months < -120000 || months > 120000) return false;
    int64_t count = (int64_t)date->year * 12 + date->month - 1 + months, year = quotient(count, 12);
    if (year < 1 || year > 9999) return false;
    int month = (int)modulo(count, 12) + 1, length = month_length(year, month);
    *date = (pc_date){(int32_t)year, (uint8_t)month, date->day < length ? date->day : (uint8_t)length};
    return true;
}

/* The table of zones. */

/* The value of a digit of the table. */
static int64_t value_of(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'A' && digit <= 'Z') return digit - 'A' + 10;
    if (digit >= 'a' && digit <= 'z') return digit - 'a' + 36;
    return digit == '-' ? 62 : 63;
}

static int64_t base64(const char *text, int count) {
    int64_t number = 0;
    for (int i = 0; i < count; i++) number = number * 64 + value_of(text[i]);
    return number;
}

/* Numbers separated by commas, up to `|` or the end: at most `room`. Returns where they end. */
static const char *numbers(const char *text, int32_t *found, size_t room, size_t *count) {
    for (*count = 0; *count < room; text++) {
        bool below = *text == '-';
        int32_t number = 0;
        for (text += below ? 1 : 0; *text >= '0' && *text <= '9'; text++) number = number * 10 + (*text - '0');
        found[(*count)++] = below ? -number : number;
        if (*text != ',') break;
    }
    return text;
}

/* Whether a line names this zone; `rest` is what follows the names. */
static bool names(const char *line, pc_text name, const char **rest) {
    bool found = false;
    while (*line != '|') {
        size_t length = 0;
        while (line[length] != ' ' && line[length] != '|') length++;
        found = found || pc_same((pc_text){(uint8_t *)line, length}, name);
        line += length + (line[length] == ' ' ? 1 : 0);
    }
    *rest = line + 1;
    return found;
}

bool pc_zone_named(pc_text name, pc_zone *zone) {
    const char *rest = NULL;
    const char *const *line = pc_zones;
    while (*line != NULL && !names(*line, name, &rest)) line++;
    if (*line == NULL) return false;
    int32_t known[64] = {0};
    size_t count;
    const char *changes = numbers(rest, known, 64, &count) + 1;
    size_t room = strlen(changes) / 4 + 1;
    *zone = (pc_zone){.moments = malloc(room * sizeof *zone->moments), .offsets = malloc(room * sizeof *zone->offsets)};
    if (zone->moments == NULL || zone->offsets == NULL) abort();
    zone->offsets[0] = known[0];
    int64_t moment = BEGINNING;
    for (; *changes != '|'; changes++) {
        bool far = *changes == '~';
        moment += far ? base64(changes + 1, 6) : base64(changes, 3) * 900;
        changes += far ? 7 : 3;
        zone->moments[zone->count++] = moment;
        zone->offsets[zone->count] = known[value_of(*changes)];
    }
    numbers(changes + 1, zone->rule, 10, &zone->rule_count);
    return true;
}

/* When clocks change in a year, in local seconds since the epoch: month, week (5 is the last),
 * weekday (0 is Sunday), seconds. */
static int64_t changes_at(int64_t year, const int32_t *rule) {
    int64_t first = day_number(year, rule[0], 1), day = modulo(rule[2] - first - 4, 7) + 7 * (rule[1] - 1);
    return (first + (day < month_length(year, rule[0]) ? day : day - 7)) * DAY + rule[3];
}

/* Seconds east of UTC at a second since the epoch. */
static int64_t offset_at(const pc_zone *zone, int64_t second) {
    if (zone->count > 0 && second < zone->moments[zone->count - 1]) {
        size_t low = 0, high = zone->count - 1;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (zone->moments[middle] <= second) low = middle + 1;
            else high = middle;
        }
        return zone->offsets[low];
    }
    int64_t standard = zone->rule[0], summer = zone->rule[1];
    if (zone->rule_count < 10) return standard;
    int64_t year = civil(quotient(second + standard, DAY)).year;
    int64_t begin = changes_at(year, zone->rule + 2) - standard, end = changes_at(year, zone->rule + 6) - summer;
    bool is_summer = begin < end ? begin <= second && second < end : !(end <= second && second < begin);
    return is_summer ? summer : standard;
}

/* The instant of a local time, both in seconds; false in a gap. */
static bool find(const pc_zone *zone, int64_t local, int64_t *second) {
    int64_t before = offset_at(zone, local - DAY), after = offset_at(zone, local + DAY);
    bool is_before = offset_at(zone, local - before) == before, is_after = offset_at(zone, local - after) == after;
    *second = local - (!is_before && is_after ? after : before);
    return is_before || is_after;
}

/* The first instant of a day since the epoch. */
static int64_t start(const pc_zone *zone, int64_t day) {
    int64_t local = day * DAY, late;
    if (find(zone, local, &late)) return late * 1000;
    /* No midnight: the day begins when the clocks change. */
    int64_t before = offset_at(zone, local - DAY), early = local - offset_at(zone, local + DAY);
    while (late - early > 1) {
        int64_t middle = early + (late - early) / 2;
        if (offset_at(zone, middle) == before) early = middle;
        else late = middle;
    }
    return late * 1000;
}

bool pc_local_time(const pc_zone *zone, int64_t instant, pc_local *local) {
    int64_t second = quotient(instant, 1000), limit = (LAST_DAY + 2) * DAY;
    if (second < BEGINNING || second > limit) return false;
    int64_t shown = second + offset_at(zone, second), day = quotient(shown, DAY), rest = modulo(shown, DAY);
    if (day < 0 || day > LAST_DAY) return false;
    *local = (pc_local){civil(day), (uint8_t)(rest / 3600), (uint8_t)(rest / 60 % 60), (uint8_t)(rest % 60), (uint16_t)modulo(instant, 1000)};
    return true;
}

bool pc_instant(const pc_zone *zone, const pc_local *local, int64_t *instant) {
    int64_t day = number_of(local->date), second;
    if (day < 0 || day > LAST_DAY) return false;
    find(zone, day * DAY + local->hour * 3600 + local->minute * 60 + local->second, &second);
    *instant = second * 1000 + local->millisecond;
    return true;
}

bool pc_start_of_day(const pc_zone *zone, pc_date date, int64_t *instant) {
    int64_t day = number_of(date);
    if (day < 0 || day > LAST_DAY) return false;
    *instant = start(zone, day);
    return true;
}

bool pc_end_of_day(const pc_zone *zone, pc_date date, int64_t *instant) {
    int64_t day = number_of(date);
    if (day < 0 || day > LAST_DAY) return false;
    *instant = start(zone, day + 1);
    return true;
}

/* Shifts. */

static bool minutes_of(pc_text text, uint16_t *minutes) {
    int hour, minute;
    if (text.len != 5 || !has(text, 2, ':') || !digits(text, 0, 2, &hour) || !digits(text, 3, 2, &minute)) return false;
    *minutes = (uint16_t)(hour * 60 + minute);
    return hour < 24 && minute < 60;
}

bool pc_parse_shift(pc_text begin, pc_text end, pc_shift *shift) {
    pc_shift read = {0, 1440};
    if (!minutes_of(begin, &read.begin)) return false;
    if (!pc_is(end, "24:00") && !minutes_of(end, &read.end)) return false;
    *shift = read;
    return true;
}

bool pc_shift_day(const pc_zone *zone, int64_t instant, pc_shift shift, pc_date *date) {
    pc_local local;
    if (!pc_local_time(zone, instant, &local)) return false;
    int minute = local.hour * 60 + local.minute;
    bool over_midnight = shift.begin >= shift.end;
    *date = local.date;
    if (!over_midnight) return minute >= shift.begin && minute < shift.end;
    return minute >= shift.begin || (minute < shift.end && pc_add_days(date, -1));
}

/* Holidays. */

pc_holidays pc_read_holidays(const pc_value *array, pc_text path, pc_problems *problems) {
    pc_holidays holidays = {NULL, 0};
    if (!pc_expect(array, PC_ARRAY, path, problems)) return holidays;
    holidays.days = malloc((array->count + 1) * sizeof *holidays.days);
    if (holidays.days == NULL) abort();
    for (size_t i = 0; i < array->count; i++) {
        const pc_value *entry = &array->values[i];
        pc_date *day = &holidays.days[holidays.count];
        /* A leap year, which has every day. */
        uint8_t in_leap_year[10] = "2000-";
        bool yearly = entry->type == PC_STRING && entry->text.len == 5;
        if (yearly) memcpy(in_leap_year + 5, entry->text.ptr, 5);
        pc_text text = yearly ? (pc_text){in_leap_year, 10} : entry->text;
        if (entry->type == PC_STRING && pc_parse_date(text, day)) {
            if (yearly) day->year = 0;
            holidays.count++;
        } else {
            pc_at(problems, pc_print("%t[%u]", &path, (unsigned)i), NO_DAY);
        }
    }
    return holidays;
}

bool pc_is_holiday(const pc_holidays *holidays, pc_date date) {
    for (size_t i = 0; i < holidays->count; i++) {
        pc_date day = holidays->days[i];
        if (day.month == date.month && day.day == date.day && (day.year == 0 || day.year == date.year)) return true;
    }
    return false;
}

bool pc_holiday_in_table(pc_text table, pc_date date) { return pc_lookup(table, pc_date_text(date)).rows.len > 0; }
