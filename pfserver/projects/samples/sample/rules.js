// Each exported function is a variable of the template: it gets a record and the job, and gives a value.
// A rule that throws, or gives null, fails its record; the others go on.

export function FormatPriceJS(record) {
  return formatCurrency(record.Price, record.Currency, { locale: record.Language });
}

export function Salutation(record) {
  const name = record.Name.split(" ").at(-1);
  const greetings = {
    fr: `Chère ${record.Title} ${name},`,
    de: `Guten Tag ${record.Title} ${name},`,
    de_CH: `Grüezi ${record.Title} ${name},`,
  };
  if (record.Language === "fr" && record.Title === "M.") return `Cher ${record.Title} ${name},`;
  return greetings[record.Language] || `Dear ${record.Title} ${name},`;
}

export function ValidUntil(record) {
  return formatDate("2027-03-31", { style: "long", locale: record.Language });
}
