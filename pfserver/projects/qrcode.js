// qrCode(text) for rules: a QR code as SVG text (ISO/IEC 18004, byte mode in UTF-8, error correction M, versions 1 to 40).

// By version, for level M: error correction bytes a block, and the number of blocks.
const pfQrCheckBytes = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26, 26, ...Array(19).fill(28)];
const pfQrBlocks = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16, 17, 17, 18, 20, 21, 23, 25, 26, 28, 29, 31, 33, 35, 37, 38, 40, 43, 45, 47, 49];

const pfQrExp = [], pfQrLog = [];
for (let i = 0, value = 1; i < 255; i++) {
  pfQrExp[i] = pfQrExp[i + 255] = value;
  pfQrLog[value] = i;
  value = (value << 1) ^ (value & 0x80 ? 0x11d : 0);
}

const pfQrTimes = (a, b) => (a && b ? pfQrExp[pfQrLog[a] + pfQrLog[b]] : 0);

// How many bytes a version holds, data and error correction together.
function pfQrCapacity(version) {
  let bits = (16 * version + 128) * version + 64;
  if (version >= 2) {
    const marks = Math.floor(version / 7) + 2;
    bits -= (25 * marks - 10) * marks - 55;
    if (version >= 7) bits -= 36;
  }
  return bits >> 3;
}

const pfQrDataBytes = (version) => pfQrCapacity(version) - pfQrCheckBytes[version - 1] * pfQrBlocks[version - 1];

function pfQrUtf8(text) {
  const bytes = [];
  for (const char of unescape(encodeURIComponent(text))) bytes.push(char.charCodeAt(0));
  return bytes;
}

function pfQrData(text) {
  const bytes = pfQrUtf8(text);
  let version = 1;
  while (version <= 40 && bytes.length + (version < 10 ? 2 : 3) > pfQrDataBytes(version)) version++;
  if (version > 40) throw new RangeError(`a QR code cannot hold ${bytes.length} bytes`);
  const bits = [0, 1, 0, 0];
  const add = (value, count) => { for (let i = count - 1; i >= 0; i--) bits.push((value >> i) & 1); };
  add(bytes.length, version < 10 ? 8 : 16);
  bytes.forEach((byte) => add(byte, 8));
  const room = pfQrDataBytes(version) * 8;
  add(0, Math.min(4, room - bits.length));
  while (bits.length % 8) bits.push(0);
  for (let pad = 0xec; bits.length < room; pad ^= 0xec ^ 0x11) add(pad, 8);
  const data = [];
  for (let i = 0; i < bits.length; i += 8) data.push(parseInt(bits.slice(i, i + 8).join(""), 2));
  return [version, data];
}

// The blocks with their error correction, interleaved.
function pfQrCodewords(version, data) {
  const checks = pfQrCheckBytes[version - 1], blocks = pfQrBlocks[version - 1];
  const generator = [1];
  for (let i = 0; i < checks; i++) {
    generator.push(0);
    for (let j = generator.length - 1; j > 0; j--) generator[j] ^= pfQrTimes(generator[j - 1], pfQrExp[i]);
  }
  const short = Math.floor(data.length / blocks), long = data.length % blocks, parts = [];
  for (let i = 0, at = 0; i < blocks; i++) {
    const part = data.slice(at, (at += short + (i >= blocks - long ? 1 : 0)));
    const rest = Array(checks).fill(0);
    for (const byte of part) {
      const factor = byte ^ rest.shift();
      rest.push(0);
      for (let j = 0; j < checks; j++) rest[j] ^= pfQrTimes(generator[j + 1], factor);
    }
    parts.push([part, rest]);
  }
  const result = [];
  for (let i = 0; i <= short; i++) for (const [part] of parts) if (i < part.length) result.push(part[i]);
  for (let i = 0; i < checks; i++) for (const [, rest] of parts) result.push(rest[i]);
  return result;
}

const pfQrMasks = [
  (x, y) => (x + y) % 2, (x, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2, (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

function pfQrAligned(version, size) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4)) * 2;
  const places = [6];
  for (let at = size - 7; places.length < count; at -= step) places.splice(1, 0, at);
  return places;
}

function pfQrMatrix(version, codewords) {
  const size = version * 4 + 17;
  const dark = Array.from({ length: size }, () => new Uint8Array(size));
  const fixed = Array.from({ length: size }, () => new Uint8Array(size));
  const set = (x, y, value) => { if (x >= 0 && y >= 0 && x < size && y < size) { dark[y][x] = value ? 1 : 0; fixed[y][x] = 1; } };
  for (let i = 0; i < size; i++) { set(6, i, i % 2 === 0); set(i, 6, i % 2 === 0); }
  for (const [cx, cy] of [[3, 3], [size - 4, 3], [3, size - 4]])
    for (let dy = -4; dy <= 4; dy++)
      for (let dx = -4; dx <= 4; dx++) {
        const ring = Math.max(Math.abs(dx), Math.abs(dy));
        set(cx + dx, cy + dy, ring !== 2 && ring !== 4);
      }
  const places = pfQrAligned(version, size), last = places.length - 1;
  places.forEach((cx, i) => places.forEach((cy, j) => {
    if ((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)) return;
    for (let dy = -2; dy <= 2; dy++) for (let dx = -2; dx <= 2; dx++) set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
  }));
  pfQrFormat(0, size, set);
  if (version >= 7) pfQrVersion(version, size, set);
  let bit = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step++)
      for (const x of [right, right - 1]) {
        const y = ((right + 1) & 2) === 0 ? size - 1 - step : step;
        if (!fixed[y][x] && bit < codewords.length * 8) { dark[y][x] = (codewords[bit >> 3] >> (7 - (bit & 7))) & 1; bit++; }
      }
  }
  let best = null;
  for (let mask = 0; mask < 8; mask++) {
    const tried = dark.map((row, y) => row.map((value, x) => (fixed[y][x] ? value : value ^ (pfQrMasks[mask](x, y) === 0 ? 1 : 0))));
    pfQrFormat(mask, size, (x, y, value) => { tried[y][x] = value ? 1 : 0; });
    const penalty = pfQrPenalty(tried, size);
    if (!best || penalty < best[0]) best = [penalty, tried];
  }
  return best[1];
}

// Level M is 00 in the format's first two bits.
function pfQrFormat(mask, size, set) {
  let rest = mask;
  for (let i = 0; i < 10; i++) rest = (rest << 1) ^ ((rest >> 9) * 0x537);
  const bits = ((mask << 10) | rest) ^ 0x5412, bit = (i) => (bits >> i) & 1;
  for (let i = 0; i <= 5; i++) set(8, i, bit(i));
  set(8, 7, bit(6)); set(8, 8, bit(7)); set(7, 8, bit(8));
  for (let i = 9; i < 15; i++) set(14 - i, 8, bit(i));
  for (let i = 0; i < 8; i++) set(size - 1 - i, 8, bit(i));
  for (let i = 8; i < 15; i++) set(8, size - 15 + i, bit(i));
  set(8, size - 8, 1);
}

function pfQrVersion(version, size, set) {
  let rest = version;
  for (let i = 0; i < 12; i++) rest = (rest << 1) ^ ((rest >> 11) * 0x1f25);
  const bits = (version << 12) | rest;
  for (let i = 0; i < 18; i++) {
    const far = size - 11 + (i % 3), near = Math.floor(i / 3);
    set(far, near, (bits >> i) & 1);
    set(near, far, (bits >> i) & 1);
  }
}

// Runs, blocks of four and the balance of dark and light: what scanners stumble over.
function pfQrPenalty(rows, size) {
  let penalty = 0, dark = 0;
  for (let y = 0; y < size; y++) {
    let across = 0, down = 0;
    for (let x = 0; x < size; x++) {
      dark += rows[y][x];
      across = x && rows[y][x] === rows[y][x - 1] ? across + 1 : 1;
      down = x && rows[x][y] === rows[x - 1][y] ? down + 1 : 1;
      penalty += (across === 5 ? 3 : across > 5 ? 1 : 0) + (down === 5 ? 3 : down > 5 ? 1 : 0);
      if (x && y && rows[y][x] === rows[y][x - 1] && rows[y][x] === rows[y - 1][x] && rows[y][x] === rows[y - 1][x - 1]) penalty += 3;
    }
  }
  return penalty + Math.floor(Math.abs(dark * 20 - size * size * 10) / (size * size)) * 10;
}

// qrCode("https://example.org/", {margin: 4, color: "#000"}) -> "<svg …>"; margin in modules
function qrCode(text, options = {}) {
  const [version, data] = pfQrData(String(text));
  const rows = pfQrMatrix(version, pfQrCodewords(version, data));
  const margin = options.margin === undefined ? 4 : Number(options.margin), size = rows.length + 2 * margin;
  const color = options.color === undefined ? "#000" : String(options.color);
  if (!/^#[0-9A-Fa-f]{3,8}$/.test(color)) throw new TypeError(`${JSON.stringify(color)} is not a color like #123456`);
  let path = "";
  rows.forEach((row, y) => {
    for (let x = 0, end; x < row.length; x = end) {
      for (end = x + 1; end < row.length && row[end] === row[x]; end++);
      if (row[x]) path += `M${x + margin} ${y + margin}h${end - x}v1h${x - end}z`;
    }
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}"><path fill="${color}" d="${path}"/></svg>`;
}
