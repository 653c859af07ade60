// What goes wrong in this file goes wrong on purpose.
//
// A rule that gives null fails its record with the place of its function; one that throws, with the place of the throw.
// A rule that never ends, or that wants more memory than it may have, is stopped.

const tastes = {
  plain: (price) => price,

  // Never ends: stopped after the project's time_limit.
  loop: (price) => {
    while (price > 0) price += 1;
    return price;
  },

  // Never has enough: stopped at the project's memory_limit.
  memory: (price) => {
    const pieces = [];
    while (price > 0) pieces.push("x".repeat(1 << 20) + pieces.length);
    return pieces.length;
  },
};

function checked(price) {
  if (typeof price !== "number") throw new TypeError(`a price must be a number, not ${JSON.stringify(price)}`);
  return price;
}

//
//
//
//
//
//
//
//
//
//
//
//
//
//
//
//
//
//
// The lines below stand where those of the vendor's example stand: line 48, column 4.
export const FormatPriceJS =
   (record) => {
     if (record.Price === null) return null;
     return formatCurrency(tastes[record.Kind](checked(record.Price)), "USD");
   };
