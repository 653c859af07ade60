// What a card says besides the columns of travellers.csv.

// The fare as it is written where the traveller lives.
export function FareJS(record) {
  return formatCurrency(record.fare, record.currency, { locale: record.locale });
}

export function UntilJS(record) {
  return formatDate(record.until, { style: "long", locale: "en_GB" });
}

// Where the code leads: every card has its own address.
export function LinkJS(record) {
  return `northbound.example/${record.voucher.toLowerCase()}`;
}

// A QR code is an SVG picture, which the template sets with image(bytes(…)).
export function CodeJS(record, job) {
  return qrCode(`https://${LinkJS(record, job)}`, { margin: 0, color: "#1b3650" });
}
