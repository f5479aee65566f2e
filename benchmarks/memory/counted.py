SIDES = {}
