// Two small lists made up for this page.

const list = (id, rows) =>
  JSON.stringify({ id, hypotheses: rows.map(([text, ac, lm]) => ({ text, features: { ac, lm } })) });

export const EXAMPLES = {
  speech: [
    list("utt-1", [
      ["a man is writing a horse on the beach", -203.1, -41.8],
      ["a man is riding a horse on the beach", -203.9, -42.6],
      ["a man is riding a house on the beach", -204.4, -42.9],
      ["the man is riding a horse on the beach", -205.2, -42.0],
      ["a man is riding horse on the beach", -204.0, -44.1],
    ]),
    list("utt-2", [
      ["too dogs are playing in the snow", -151.0, -33.9],
      ["two dogs are playing in the snow", -151.4, -34.2],
      ["two dogs are plain in the snow", -152.3, -35.5],
      ["to dogs are playing in the snow", -151.2, -34.4],
    ]),
  ].join("\n"),
  translation: [
    ["a group of men loading cotton on a truck", 0, -44.1, -9, [-5.3, -12.5], -117.2],
    ["a group of men loads cotton onto a truck", 0, -44.7, -9, [-4.2, -13.0], -118.3],
    ["a group of men are loading cotton onto a truck", 0, -45.1, -10, [-4.2, -13.0], -118.9],
    ["a group from men loading cotton on one truck", -2, -47.6, -9, [-4.9, -11.8], -119.8],
    ["group of men loading cotton a truck on", -4, -46.3, -8, [-5.0, -12.1], -120.4],
  ]
    .map(
      ([text, distortion, lm, penalty, tm, total]) =>
        `0 ||| ${text} ||| Distortion0= ${distortion} LM0= ${lm} WordPenalty0= ${penalty} ` +
        `TranslationModel0= ${tm.join(" ")} ||| ${total}`,
    )
    .join("\n"),
};
