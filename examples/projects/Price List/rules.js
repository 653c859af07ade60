const EURO = 1.07;

export function Price(record) {
  return formatCurrency(record.price, "CHF");
}

export function PriceEuro(record) {
  return formatCurrency(record.price * EURO, "EUR", { locale: "de" });
}

export function Availability(record) {
  if (record.stock > 100) return "in stock";
  if (record.stock > 0) return `only ${formatNumber(record.stock)} left`;
  return "on request";
}

export function Weight(record) {
  return record.weight >= 1000 ? `${formatNumber(record.weight / 1000, { decimals: 1 })} kg` : `${formatNumber(record.weight)} g`;
}
