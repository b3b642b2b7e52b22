// What is shown and chosen, and what its names mean.
const startOf = (facts) => {
  const state = {
    place: 0, at: Object.fromEntries(facts.dims.map((d) => [d.name, d.start])), // positions, of the place and along each dim
    below: facts.below, top: facts.top, opacity: facts.opacity, // names of layers
    compare: "off", other: { layer: facts.top, at: {} }, swipe: 0.5, // the second side, where it is not as the first
    threshold: null, outlined: true, group: false,
    view: null, // the part of the ground that the map shows
    chosen: null, like: facts.likeness?.start ?? null, region: null, // a cell, a tile, { points } or { group, name, rings }
    right: [], wrong: [], // tiles that were marked
  }
  if (state.like) {
    state.place = state.like[0]
    state.at[facts.likeness.dim] = state.like[1]
  }
  return state
}
const lookupsOf = (facts, state) => {
  const layers = Object.fromEntries(facts.layers.map((l) => [l.name, l]))
  const dims = Object.fromEntries(facts.dims.map((d) => [d.name, d]))
  const layer = (name) => layers[name]
  const dim = (name) => dims[name]
  const place = () => facts.places[state.place]
  const labels = (name) => place().labels[name] ?? dims[name].labels
  const dimsOf = (one) => {
    if (one?.kind === "error") return [...new Set(one.of.flatMap((name) => layers[name].dims))]
    return one?.dims ?? []
  }
  const positions = (one, at = {}) => { // where a layer is read: as asked, else as shown
    const here = one.dims.map((d) => [d, Math.min(at[d] ?? state.at[d], labels(d).length - 1)])
    const asks = {
      [facts.likeness?.layer]: { chosen: state.like }, [facts.likeness?.marked]: { right: state.right, wrong: state.wrong },
    }
    return { ...Object.fromEntries(here), ...asks[one.name] }
  }
  const wanted = (one, at) => { // the planes that show a layer
    const own = !one ? [] : one.kind === "error" ? one.of.map(layer) : [one]
    return own.map((each) => ({ layer: each.name, at: positions(each, at) }))
  }
  const threshold = () => facts.threshold.steps?.[state.threshold] ?? 0
  const hidesBelow = (one) => one?.kind === "numbers" && facts.threshold.layer === one.name && Boolean(facts.threshold.hides)
  const clickGrid = () => (facts.likeness ? place().grids[facts.likeness.grid] : clickedGrid(place()))
  return { layer, dim, place, labels, dimsOf, positions, wanted, threshold, hidesBelow, clickGrid }
}
const startThreshold = ({ facts, state }) => { // as these positions have it
  const { steps, by, start } = facts.threshold
  if (!steps) return
  const wished = (by ?? []).reduce((v, d) => v[state.at[d]], start)
  const off = steps.map((s) => Math.abs(s - wished))
  state.threshold = off.indexOf(Math.min(...off))
}
