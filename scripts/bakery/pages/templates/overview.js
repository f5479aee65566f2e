(() => {
  // A run that was killed writes no last page: say how old this one is.
  const { at, running } = document.body.dataset;
  const old = Date.now() / 1000 - Number(at);
  if (running === undefined || old < 90) return;
  const stale = document.querySelector("#stale");
  const minutes = Math.round(old / 60);
  stale.querySelector("span").textContent = minutes < 100 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
  stale.hidden = false;
})();
