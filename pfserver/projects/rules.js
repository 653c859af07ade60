// What rules can call, and how pfserver calls them. Evaluated before a project's script, in the same context.
"use strict";

// ---- number and date formatting by locale; the data comes from CLDR, for the locales that the project names ----

function pfLocale(options) {
  const name = String((options && options.locale) || pfDefaultLocale).replace("-", "_");
  const data = pfLocales[name];
  if (!data) throw new RangeError(`locale ${name} is not listed in the project's [rules] locales`);
  return data;
}

function pfShown(value) {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

function pfNumber(value) {
  const number = typeof value === "string" ? Number(value.trim() === "" ? NaN : value) : Number(value);
  if (!Number.isFinite(number)) throw new TypeError(`${pfShown(value)} is not a number`);
  return number;
}

function pfGrouped(digits, data) {
  const [first, rest] = data.grouping;
  if (first < 1 || digits.length <= first) return digits;
  let result = digits.slice(-first);
  for (let end = digits.length - first; end > 0; end -= rest)
    result = digits.slice(Math.max(0, end - rest), end) + data.group + result;
  return result;
}

// formatNumber(1234.5, {decimals: 2, locale: "de"}) -> "1.234,50"
function formatNumber(value, options = {}) {
  const data = pfLocale(options);
  const number = pfNumber(value);
  const decimals = options.decimals === undefined ? null : Math.min(20, Math.max(0, options.decimals));
  let [whole, fraction = ""] = (decimals === null ? pfPlain(Math.abs(number)) : pfRound(Math.abs(number), decimals)).split(".");
  const text = (options.grouping === false ? whole : pfGrouped(whole, data)) + (fraction ? data.decimal + fraction : "");
  return number < 0 && /[1-9]/.test(text) ? data.minus + text : text;
}

// As people round money: half away from zero on the decimal digits that the number shows, not on its binary value.
function pfRound(number, decimals) {
  const text = pfPlain(number);
  const [whole, fraction = ""] = text.split(".");
  if (fraction.length <= decimals) return decimals ? `${whole}.${fraction.padEnd(decimals, "0")}` : whole;
  let digits = BigInt(whole + fraction.slice(0, decimals));
  if (fraction[decimals] >= "5") digits += 1n;
  const padded = digits.toString().padStart(decimals + 1, "0");
  return decimals ? `${padded.slice(0, -decimals)}.${padded.slice(-decimals)}` : padded;
}

function pfPlain(number) {
  const text = String(number);
  if (!text.includes("e")) return text;
  const [mantissa, exponent] = text.split("e");
  const [whole, fraction = ""] = mantissa.split(".");
  const point = whole.length + Number(exponent);
  const digits = whole + fraction;
  if (point <= 0) return `0.${"0".repeat(-point)}${digits}`;
  return point >= digits.length ? digits + "0".repeat(point - digits.length) : `${digits.slice(0, point)}.${digits.slice(point)}`;
}

// formatCurrency(1234.5, "EUR", {locale: "de"}) -> "1.234,50 €"
function formatCurrency(value, currency, options = {}) {
  const data = pfLocale(options);
  const info = data.currencies[currency] || [currency, 2];
  const number = pfNumber(value);
  const amount = formatNumber(Math.abs(number), { decimals: info[1], ...options });
  const spaced = /[A-Za-z]$/.test(info[0]) ? `${info[0]}\u00a0` : info[0];
  const [before, after] = data.currencyPattern;
  const text = before === null ? amount + after.replace("¤", info[0]) : before.replace("¤", before.endsWith("¤") ? spaced : info[0]) + amount;
  return number < 0 && /[1-9]/.test(amount) ? data.minus + text : text;
}

// formatDate("2026-01-31", {style: "long", locale: "fr"}) -> "31 janvier 2026"; styles: short, medium, long, full, or a pattern
function formatDate(value, options = {}) {
  const data = pfLocale(options);
  const date = pfDate(value);
  const style = options.pattern || data.dates[options.style || "medium"];
  if (!style) throw new RangeError(`date style ${options.style} is none of short, medium, long, full`);
  return style.replace(/'((?:[^']|'')*)'|([yMLdEHhms])\2*/g, (part, quoted) =>
    quoted === undefined ? pfDatePart(part, date, data) : quoted.replace(/''/g, "'") || "'");
}

function pfDate(value) {
  const match = /^\s*(\d{4})-(\d\d?)-(\d\d?)(?:[T ](\d\d?):(\d\d)(?::(\d\d))?)?/.exec(String(value));
  if (!match) throw new TypeError(`${JSON.stringify(value)} is not a date like 2026-01-31`);
  const [year, month, day, hour, minute, second] = match.slice(1).map((part) => Number(part || 0));
  const date = new Date(Date.UTC(year, month - 1, day));
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) throw new TypeError(`${JSON.stringify(value)} is not a date`);
  return { year, month, day, hour, minute, second, weekday: date.getUTCDay() };
}

function pfDatePart(part, date, data) {
  const pad = (number) => String(number).padStart(part.length, "0");
  switch (part[0]) {
    case "y": return part.length === 2 ? String(date.year % 100).padStart(2, "0") : String(date.year);
    case "M": case "L": return part.length > 2 ? data[part.length === 3 ? "shortMonths" : "months"][date.month - 1] : pad(date.month);
    case "d": return pad(date.day);
    case "E": return data[part.length < 4 ? "shortDays" : "days"][date.weekday];
    case "H": return pad(date.hour);
    case "h": return pad(date.hour % 12 || 12);
    case "m": return pad(date.minute);
    default: return pad(date.second);
  }
}

// ---- how rules are called: one crossing a record, everything as JSON ----

// Kept from before the project's script, which may replace them.
const pfParse = JSON.parse, pfStringify = JSON.stringify, pfPromise = Promise;

// Texts that are put together by + are in pieces yet, which the caller cannot take.
const pfJoined = Function.prototype.call.bind(Array.prototype.join);

// What a rule that is stopped from outside leaves behind.
let pfCurrent = "", pfFailures = [];

// The innermost place in the project's script; the helpers' own lines are beyond pfHelpersBegin.
function pfPosition(error, fallback) {
  try {
    for (const [, line, column] of String(error.stack || "").matchAll(/<input>:(\d+)(?::(\d+))?/g))
      if (Number(line) < pfHelpersBegin) return [Number(line), Number(column || 1)];
  } catch {
    // Whatever was thrown, it has no place: null, or an object that throws when it is looked at.
  }
  return fallback;
}

function pfReason(error) {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : `Script threw ${String(error)}`;
  } catch {
    return "Script threw an object that has no text";
  }
}

function pfKind(value) {
  if (value === null) return "null";
  if (value instanceof pfPromise) return "a promise: rules are not async";
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : typeof value;
}

// No value is called this: what is not in the list can be given to a template.
const pfUseless = ["null", "undefined", "function", "symbol", "bigint", "NaN", "Infinity", "-Infinity", "a promise: rules are not async"];

function pfEvaluate(recordText, jobText) {
  const record = pfParse(recordText), job = pfParse(jobText), failures = (pfFailures = []);
  let values = "";
  for (let index = 0; index < pfRules.length; index++) {
    const name = pfRules[index][0], rule = pfRules[index][1];
    pfCurrent = name;
    try {
      const value = rule(record, job), kind = pfKind(value);
      if (pfUseless.includes(kind)) failures[failures.length] = [name, `Script result was ${kind}`, rule.lineNumber, rule.columnNumber];
      else values += `${values ? "," : ""}${pfStringify(name)}:${pfStringify(value)}`;
    } catch (error) {
      failures[failures.length] = [name, pfReason(error), ...pfPosition(error, [rule.lineNumber, rule.columnNumber])];
    }
  }
  return pfJoined(["[{", values, "},", pfStringify(failures), "]"], "");
}
