// What is shown, in words: the title, the legend, and counts.
const sideName = (viewer, other) => { // what this side does not share with the other
  const { state } = viewer
  const [layer, at] = [viewer.layer(other ? other.layer : state.top), other?.at ?? {}]
  const differs = (d) => (state.other.at[d] ?? state.at[d]) !== state.at[d]
  const own = positionWords(viewer, viewer.dimsOf(layer).filter(differs), at)
  return (state.other.layer !== state.top || !own.length ? [layer?.title ?? "nothing", ...own] : own).join(", ")
}
const positionWords = ({ state, dim, labels }, names, at = {}) => { // months ahead of another are told as the month that is meant
  const index = (name) => Math.min(at[name] ?? state.at[name], labels(name).length - 1)
  const label = (name) => labels(name)[index(name)]
  const ahead = names.map(dim).find((d) => d.ahead_of && names.includes(d.ahead_of))
  return names.filter((name) => name !== ahead?.ahead_of).map((name) => {
    if (name !== ahead?.name) return label(name)
    const first = label(ahead.ahead_of)
    return `${monthsOn(first, ahead.ahead[index(name)])} (${label(name)}, known until ${monthsOn(first, -1)})`
  })
}
const titleOf = (viewer) => {
  const { facts, state, drawn } = viewer
  const layer = viewer.layer(state.top) ?? viewer.layer(state.below)
  if (!layer) return facts.title
  const where = facts.places.length > 1 ? [viewer.place().name] : []
  const used = positionWords(viewer, viewer.dimsOf(layer).filter(viewer.dim))
  const against = state.compare === "off" ? "" : `${state.compare === "swipe" ? " |" : " minus"} ${sideName(viewer, state.other)}`
  return [...where, layer.title, ...used].filter(Boolean).join(", ") + against + (drawn?.top?.mean ? ", mean of each part" : "")
}
const thinWords = (plane) => (plane.step > 1 ? ` Counted on every ${plane.step}th pixel a side.` : "")
const countsOf = (viewer) => { // of what is right and wrong
  const { facts, state } = viewer
  const plane = viewer.drawn?.top
  if (!plane || viewer.layer(state.top)?.kind !== "error" || plane.layer.kind !== "classes") return ""
  const n = new Array(256).fill(0)
  plane.codes.forEach((v) => n[v]++)
  const all = plane.codes.length - n[plane.nothing]
  if (!all) return "Not known yet what came true."
  const { labels, colours } = plane.layer
  const parts = labels.map((l, i) => (colours[i] ? `${l} ${n[i].toLocaleString("en")}` : null)).filter(Boolean)
  const from = labels.length > 2 ? `Warning from ${figure(viewer.threshold(), viewer.layer(facts.threshold.layer))}: ` : ""
  return `${from}${parts.join(", ")} of ${all.toLocaleString("en")}.${thinWords(plane)}`
}

// ---- the legend ----
const legendOf = ({ facts, state, drawn }) => { // rows of { title, chips: [colour, words], ramp, ticks: [share, words], note }
  const rows = new Map()
  for (const plane of [drawn?.top ?? drawn?.below, state.compare === "swipe" ? drawn?.other : null].filter(Boolean)) {
    const row = legendRow(plane)
    rows.set(JSON.stringify([row.chips, row.ramp, row.ticks]), row)
  }
  const more = []
  if (drawn?.marks && state.outlined) more.push(["", facts.outlined[0].replace(/^outline /, "")])
  if (facts.veil.length && drawn?.top) more.push(facts.veil)
  return [...rows.values(), ...more.map((chip) => ({ title: "", chips: [chip], note: "" }))]
}
const legendRow = (plane) => {
  const { layer, low, high } = plane
  const row = { title: layer.difference ? "difference" : layer.title, note: layer.note ?? "", chips: [] }
  if (plane.image) return row
  if (layer.kind === "classes") return { ...row, chips: layer.labels.map((l, i) => [layer.colours[i], l]).filter(([c]) => c) }
  const ticks = layer.ticks?.length ? layer.ticks : [low, low + (high - low) / 2, high]
  return { ...row, ramp: layer.colours, ticks: ticks.map((v) => [shareOf(plane, v), figure(v, layer)]) }
}
const legendNodes = (viewer) => legendOf(viewer).flatMap(({ title, chips, ramp, ticks, note }) => [
  ...chips.map(([c, words]) => h("span", { class: "chip" }, h("i", { style: `background:${c}` }), words)),
  ramp && h("div", { class: "ramp" }, h("span", {}, title),
    h("div", { class: "bar", style: `background:linear-gradient(90deg,${ramp})` }),
    h("div", { class: "ticks" }, ticks.map(([at, words]) => h("span", { style: `left:${100 * at}%` }, words)))),
  note && h("div", { class: "pale" }, note),
].filter(Boolean))
