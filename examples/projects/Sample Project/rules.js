// Each function that [rules] names is a variable: pfserver calls it for every record and the template finds what it
// returned under its name. A rule that throws, or returns nothing, fails its record; the others go on.
//
//   record   the columns of the record, with the project's and the packet's variables
//   job      the job: its name, project and variables
//
// formatNumber, formatCurrency, formatDate and qrCode come with pfserver.

// A price as it is written where the customer lives: £148.50, CHF 64.90, 212,00 €.
export function FormatPriceJS(record) {
    return formatCurrency(record.price, record.currency, { locale: record.locale });
}

// What the whole order costs.
export function FormatTotalJS(record) {
    const total = Number(record.price) * Number(record.quantity);
    return formatCurrency(total, record.currency, { locale: record.locale });
}

// Dates as the letter, which is in English, writes them: 8 March 2027.
export function DeliveryJS(record) {
    return formatDate(record.delivery, { style: "long", locale: "en_GB" });
}

// The offer ends a week before its delivery.
export function ValidUntilJS(record) {
    const day = new Date(record.delivery + "T00:00:00Z");
    day.setUTCDate(day.getUTCDate() - 7);
    return formatDate(day.toISOString().slice(0, 10), { style: "long", locale: "en_GB" });
}
