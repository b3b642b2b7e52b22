// What is asked for, and kept: `planes` gives them, from what was asked before where it can.
const KEPT = 80 // planes
const askingOf = (viewer) => {
  const { facts, state, ask, root } = viewer
  const cache = new Map()
  let jobs = 0
  const remember = (key, value) => {
    cache.delete(key)
    cache.set(key, value)
    if (cache.size > KEPT) cache.delete(cache.keys().next().value)
    return value
  }
  const planes = async (wanted, view = state.view, pixels = viewer.map.pixels(), exact = false) => {
    const window = facts.whole ? null : [view, pixels, exact]
    const keys = wanted.map((one) => JSON.stringify([state.place, one.layer, one.at, window]))
    const missing = wanted.filter((_, i) => !cache.has(keys[i]))
    if (missing.length) {
      const answer = ask({ what: "planes", place: state.place, view, pixels, exact, layers: missing })
      answer.catch(() => keys.forEach((key) => cache.delete(key))) // what failed is asked for again
      missing.forEach((one, i) => remember(keys[wanted.indexOf(one)], answer.then(([json, files]) =>
        decoded(viewer.layer(one.layer), json.planes[i], files[i], facts.nothing))))
    }
    return Promise.all(keys.map((key) => remember(key, cache.get(key))))
  }
  const working = (job) => async (...given) => { // what waits for an answer shows that it does, and tells what went wrong
    jobs++
    root.dataset.busy = "true"
    try {
      return await job(...given)
    } catch (error) {
      viewer.boxes.under.textContent = `This could not be read: ${error.message ?? error}`
    } finally {
      if (!--jobs) delete root.dataset.busy
    }
  }
  return { planes, working }
}
