# Which config: the shipped example, unless --configfile names others, which replace all of it.
# In:  the command line; where a job runs elsewhere, the part of the config that was written for it
# Out: config, PARTS (where a job elsewhere finds its part of the config; "" for all others)

import os

# parts.PLACE; the library is not on the path yet
PARTS = "" if workflow.is_main_process else os.environ.get("BAKERY_PARTS", "")
if not os.path.isdir(PARTS):
    PARTS = ""

if not (PARTS or workflow.overwrite_configfiles):

    configfile: "config/config.yaml"
