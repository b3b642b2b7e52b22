// Scores of the cells of a region. All here is of the planes given.
const cellsIn = (plane, region, groups) => Array.from(plane.codes.keys()).filter((i) =>
  region.group === undefined ? within(region.points, ...middleOf(cellBox(plane, i))) : groups.codes[i] === region.group)
const averagePrecision = (guess, truth) => { // the mean precision at each event, by falling probability
  const order = guess.map((v, i) => [v, truth[i]]).sort((a, b) => b[0] - a[0])
  let [hits, sum, at] = [0, 0, 0]
  while (at < order.length) { // equal guesses are one step
    let [n, found] = [at, 0]
    while (n < order.length && order[n][0] === order[at][0]) found += order[n++][1]
    hits += found
    sum += (found * hits) / n
    at = n
  }
  return hits ? sum / hits : NaN
}
const scoresOf = (guess, truth, cells) => {
  const rare = guess.layer.kind === "numbers" // the classes above 1 of its truth are not known yet
  const known = cells.filter((i) => isThere(truth, i) && isThere(guess, i) && !(rare && truth.codes[i] > 1))
  if (!known.length) return { n: 0 }
  const t = known.map((i) => truth.codes[i])
  const g = known.map((i) => (rare ? valueAt(guess, i) : guess.codes[i]))
  return { n: known.length, ...(rare ? scoresOfEvents(g, t) : scoresOfClasses(g, t)) }
}
const scoresOfEvents = (p, t) => ({
  events: t.reduce((a, b) => a + b, 0), expected: p.reduce((a, b) => a + b, 0),
  "average precision": averagePrecision(p, t), Brier: average(p.map((v, i) => (v - t[i]) ** 2)),
})
const scoresOfClasses = (g, t) => {
  const count = (holds) => t.filter((truth, i) => holds(truth, g[i])).length
  const iou = [...new Set([...t, ...g])].map((c) => count((a, b) => a === c && b === c) / count((a, b) => a === c || b === c))
  return { accuracy: count((a, b) => a === b) / t.length, "mean IoU": average(iou) }
}
const summary = (plane, cells) => { // a layer of the region in words
  const known = cells.filter((i) => isThere(plane, i))
  const { title, kind, labels } = plane.layer
  if (kind === "numbers") {
    const values = known.map((i) => valueAt(plane, i))
    const highest = values.reduce((a, b) => Math.max(a, b), -Infinity)
    return `${title}: mean ${figure(average(values), plane.layer)}, highest ${figure(highest, plane.layer)}`
  }
  const counts = labels.map((label, c) => [label, known.filter((i) => plane.codes[i] === c).length]).filter(([, n]) => n)
  const most = counts.sort((a, b) => b[1] - a[1]).slice(0, 6)
  return `${title}: ${most.map(([label, n]) => `${label} ${figure(n / known.length, { form: "percent" })}`).join(", ")}`
}
